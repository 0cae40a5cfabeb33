package proxy

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// clientTTL is how long somebody who asks from afar is let in: a season, since
// nothing renews it.
const clientTTL = 90 * 24 * time.Hour

// clientPrefix stands before a client's name in the register; no node's name has a stroke in it.
const clientPrefix = "client/"

// CreateClient makes a key and certificate for somebody who is to ask the Proxy
// from afar.
func (p *Proxy) CreateClient(_ context.Context, req *vnetv1.CreateClientRequest) (*vnetv1.CreateClientResponse, error) {
	role, err := pki.ParseRole(req.GetRole())
	if err == nil && role.Daemon() {
		return nil, invalid("cannot use role %q: give read, operate or admin", req.GetRole())
	}
	if err != nil {
		return nil, invalid("%w", err)
	}
	ttl := clientTTL
	if req.GetTtl() != nil {
		if ttl = req.GetTtl().AsDuration(); ttl <= 0 {
			return nil, invalid("cannot make a certificate that lives %v: give a duration above zero", ttl)
		}
	}
	id, err := p.authority.joiningCA().Issue(req.GetName(), role, time.Now(), ttl)
	if err != nil {
		return nil, invalid("%w", err)
	}
	text, err := id.Encode()
	if err == nil {
		err = p.ledger().Seen(time.Now(), clientPrefix+req.GetName(), id.Key(), id.Expires())
	}
	if err != nil {
		return nil, err
	}
	out := &vnetv1.CreateClientResponse{Identity: string(text), Expires: timestamppb.New(id.Expires())}
	for _, a := range p.node.Candidates() {
		out.Addresses = append(out.Addresses, a.String())
	}
	return out, nil
}
