package trials

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/gauge"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/peers"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/stage"
)

// ports shows what a link with several source ports reaches beside one with one: two guests on each of two hosts, a stream
// between each pair, so that both ends have two lanes.
func ports(ctx context.Context, t *Table) error {
	for i, c := range []struct{ sockets, extra int }{{1, 0}, {2, 0}, {2, 1}, {2, 3}} {
		if err := t.spread(ctx, i, c.sockets, c.extra); err != nil {
			return err
		}
	}
	return nil
}

// spread measures two streams over one link, in hosts of its own.
func (t *Table) spread(ctx context.Context, i, sockets, extra int) error {
	near, far := fmt.Sprintf("many%d", i), fmt.Sprintf("ports%d", i)
	if err := t.Stage.Add(ctx, near); err != nil {
		return err
	}
	at, _, err := t.wire(ctx, near, far, t.Nr+i)
	if err != nil {
		return err
	}
	o := peers.NewOverlay(t.Stage, t.Programs, t.Nr+i, "--sockets", fmt.Sprint(sockets))
	if err := o.Proxy(ctx, near, "--tap", near+"x", "--tap", near+"y"); err != nil {
		return err
	}
	if err := o.Host(ctx, far, at.String(), "--tap", far+"x", "--tap", far+"y"); err != nil {
		return err
	}
	var pairs []gauge.Between
	for n, which := range []string{"x", "y"} {
		g := gauge.Between{Stage: t.Stage, A: "guest-" + near + which, B: "guest-" + far + which,
			AddrA: t.guest(i, byte(2*n+1)), AddrB: t.guest(i, byte(2*n+2))}
		for in, host := range map[string]string{g.A: near, g.B: far} {
			if err := t.Stage.Add(ctx, in); err != nil {
				return err
			}
			if err := t.Stage.IP(ctx, host, fmt.Sprintf("link set %s netns %s", host+which, in)); err != nil {
				return err
			}
		}
		if err := t.tap(ctx, g.A, near+which, g.AddrA); err != nil {
			return err
		}
		if err := t.tap(ctx, g.B, far+which, g.AddrB); err != nil {
			return err
		}
		if err := t.Stage.Reaches(ctx, g.A, g.AddrB, patience); err != nil {
			return err
		}
		pairs = append(pairs, g)
	}
	if _, err := o.Vnet(ctx, near, "link", "ports", far, fmt.Sprint(extra)); err != nil {
		return err
	}
	for _, ends := range [][2]string{{near, far}, {far, near}} {
		if err := t.carry(ctx, o, ends[0], extra); err != nil {
			return err
		}
	}
	return t.twoStreams(ctx, fmt.Sprintf("%d sockets, %d extra ports: ", sockets, extra), pairs)
}

// guest is an address in the overlay of hosts i.
func (t *Table) guest(i int, last byte) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 80, byte(t.Nr + i), last})
}

// carry waits until so many extra ports of a host's only link carry.
func (t *Table) carry(ctx context.Context, o *peers.Overlay, host string, extra int) error {
	return stage.Await(ctx, patience, func() error {
		text, err := o.Vnet(ctx, host, "links")
		if err == nil && strings.Count(text, "carries") != extra {
			err = fmt.Errorf("cannot have %d extra ports at %s: %s", extra, host, text)
		}
		return err
	})
}

// twoStreams measures both pairs at once.
func (t *Table) twoStreams(ctx context.Context, at string, pairs []gauge.Between) error {
	type result struct {
		s   gauge.Stream
		err error
	}
	results := make(chan result, len(pairs))
	before, err := gauge.Busy()
	if err != nil {
		return err
	}
	for _, g := range pairs {
		go func() {
			s, err := g.TCP(ctx, 1, false, t.Long)
			results <- result{s, err}
		}()
	}
	rate, bytes := 0.0, 0.0
	for range pairs {
		r := <-results
		if r.err != nil {
			err = r.err
			continue
		}
		rate += r.s.Rate
		bytes += r.s.Rate / 8 * r.s.Seconds
	}
	if err != nil {
		return err
	}
	after, err := gauge.Busy()
	if err != nil {
		return err
	}
	t.found(at+"Gbit/s, two TCP streams together", rate/1e9, "")
	t.found(at+"CPU, s/GB", (after-before)/(bytes/1e9), "")
	return nil
}
