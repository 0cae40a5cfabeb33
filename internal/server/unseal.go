package server

import (
	"context"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// roleKey is of the role of a client from afar, in a request's context.
type roleKey struct{}

func withRole(ctx context.Context, role pki.Role) context.Context {
	return context.WithValue(ctx, roleKey{}, role)
}

// mayUnseal refuses what takes a cipher away to clients that may not call SetLinkCipher and SetSeal. Whoever came over the
// local socket may.
func mayUnseal(ctx context.Context, unseals bool) error {
	role, afar := ctx.Value(roleKey{}).(pki.Role)
	if !unseals || !afar || role >= pki.RoleAdmin {
		return nil
	}
	return api.Errorf(connect.CodePermissionDenied, "cannot do this: it would take a cipher or a seal away, for which the role %v is not enough; it needs %v",
		role, pki.RoleAdmin).Connect()
}

// trusting tells whether links are to be without a cipher.
func trusting[L interface{ GetCipher() string }](links ...L) bool {
	return slices.ContainsFunc(links, func(l L) bool { return l.GetCipher() == "trusted" })
}

// unsealing tells whether steps leave links without a cipher, or take the wish away that payload is sealed.
func unsealing(steps []*api.OverlayStep) bool {
	return slices.ContainsFunc(steps, func(s *api.OverlayStep) bool {
		words := strings.Fields(s.GetStatement())
		if s.GetKind() == "delete" {
			return len(words) > 0 && words[0] == "seal"
		}
		return len(words) > 0 && words[0] == "link" && slices.Contains(words, "trusted")
	})
}

// keepsSeals looks first at what a file would do, for a client that may not do all of it; what it returns does that, or nothing if
// somebody changes the overlay meanwhile.
func (s service) keepsSeals(ctx context.Context, req *api.ApplyOverlayRequest) (*api.ApplyOverlayRequest, error) {
	if mayUnseal(ctx, true) == nil || req.GetDryRun() {
		return req, nil
	}
	one := proto.CloneOf(req)
	one.DryRun = true
	plan, err := route(ctx, s, "ApplyOverlay", one, s.d.ApplyOverlay)
	if err != nil {
		return nil, err
	}
	one.DryRun, one.Revision = false, plan.GetRevision()
	return one, mayUnseal(ctx, unsealing(plan.GetSteps()))
}
