package peers

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/stage"
)

// address gives the daemons' interfaces, once they are there, the guests' addresses, and waits until they reach each other.
func (r *Running) address(ctx context.Context, deviceA, deviceB string, a, b netip.Prefix) error {
	for _, side := range []struct {
		in, device string
		address    netip.Prefix
	}{{r.A, deviceA, a}, {r.B, deviceB, b}} {
		err := stage.Await(ctx, startTime, func() error { return r.Stage.IP(ctx, side.in, "link set "+side.device+" up") })
		if err == nil {
			err = r.Stage.IP(ctx, side.in, fmt.Sprintf("address add %s dev %s", side.address, side.device))
		}
		if err != nil {
			return fmt.Errorf("%w%s", err, r.complaints())
		}
	}
	if err := r.Stage.Reaches(ctx, r.A, b.Addr(), startTime); err != nil {
		return fmt.Errorf("%w%s", err, r.complaints())
	}
	return nil
}

// complaints is what the daemons wrote last.
func (r *Running) complaints() (text string) {
	for _, d := range r.Daemons {
		text += fmt.Sprintf("\n%s: %s", d.Name, d.Log())
	}
	return text
}
