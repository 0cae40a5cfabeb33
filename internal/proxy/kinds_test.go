package proxy

import (
	"slices"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
)

// Events whose kinds are put together are among those that can be asked for.
func TestKindsThatArePutTogether(t *testing.T) {
	var kinds []string
	for k := adapt.OpenLink; k <= adapt.CloseLink; k++ {
		kinds = append(kinds, stepKind(k))
	}
	for k := control.PlaceConflict; k <= control.PlaceRefused; k++ { // those before have words of their own, or none
		kinds = append(kinds, "vm."+k.String())
	}
	for _, kind := range kinds {
		if !slices.Contains(node.Kinds(), kind) {
			t.Errorf("%q is told of, and not among node.Kinds", kind)
		}
	}
	if last := control.PlaceKind(control.PlaceRefused + 1); last.String() != "unknown" {
		t.Errorf("there are places of kind %q: look at them here too", last)
	}
}
