package node

import (
	"slices"
	"strings"

	"connectrpc.com/connect"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// Kinds are the kinds of events that daemons tell of, the Proxy's among them, in order. What comes before a dot is a family:
// whoever asks for it gets all that begin with it. docs/api.md says what each is.
func Kinds() []string {
	return []string{
		"adapt.advised", "adapt.close_link", "adapt.divert", "adapt.failed", "adapt.kept", "adapt.lease", "adapt.lost", "adapt.no_verdict",
		"adapt.open_link", "adapt.pause", "adapt.restore", "adapt.reverted", "adapt.suspected",
		"address.spoofed",
		"certificate.renewed",
		"change.committed", "change.failed",
		"join", "join.approved", "join.refused", "join.waiting",
		"link.down", "link.up",
		"node.down", "node.revoked", "node.up",
		"port.blocked", "port.crowded", "port.lost", "port.open",
		"saved",
		"seal",
		"topology",
		"trust", "trust.key",
		"vm.conflict", "vm.frozen", "vm.gone", "vm.moved", "vm.refused", "vm.seen", "vm.thawed",
		"warning",
	}
}

// checkKinds refuses what nobody will ever tell of: whoever watches for it would wait for ever.
func checkKinds(kinds []string) error {
	for _, k := range kinds {
		if slices.ContainsFunc(Kinds(), func(kind string) bool { return wanted([]string{k}, kind) }) {
			continue
		}
		var families []string
		for _, kind := range Kinds() {
			family, _, _ := strings.Cut(kind, ".")
			families = append(families, family)
		}
		return vnetv1.Errorf(connect.CodeInvalidArgument, "cannot watch for events of kind %q: this daemon knows no such kind", k).
			WithHint("choose of %s; each is all of its kinds, such as link.up (docs/api.md has the list)", strings.Join(slices.Compact(families), ", "))
	}
	return nil
}
