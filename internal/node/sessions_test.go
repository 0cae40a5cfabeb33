package node

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// Where the far end takes its time to answer, a session stays until what replaces it is known to work.
func TestLateAnswersLoseNothing(t *testing.T) {
	inTown(t, 1, func(t *testing.T, w *town) {
		h, carrier := w.hosts[0], link.UDP
		w.proxy.hub.busy = 2 * overlap
		up := startStream(h, w.proxy)
		for range 5 {
			if err := h.order(t, order{carrier: &carrier}); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Second)
		_, live := h.to("proxy")
		sent, lost, twice := up.end(w.proxy)
		if lost+twice > 0 || live != 1 {
			t.Errorf("of %d frames %d were lost, %d came twice; %d sessions live", sent, lost, twice, live)
		}
	})
}

// Sessions are replaced before those they replaced are gone, over either carrier
// and with the first messages of some overtaking those of others.
func TestHurriedHandshakesLoseNothing(t *testing.T) {
	for _, way := range []struct {
		name string
		up   bool
	}{{"up", true}, {"down", false}} {
		t.Run(way.name, func(t *testing.T) {
			inTown(t, 1, func(t *testing.T, w *town) {
				h, dice := w.hosts[0], rand.New(rand.NewPCG(1, 2))
				w.net.SetPathBoth(h.addr, w.proxy.addr, wan.Path{Delay: 5 * time.Millisecond, Jitter: 60 * time.Millisecond, Reorder: true})
				from, to := h, w.proxy
				if !way.up {
					from, to = w.proxy, h
				}
				s := startStream(from, to)
				for range 40 {
					carrier := link.UDP
					if dice.IntN(4) == 0 {
						carrier = link.TCP
					}
					if err := h.order(t, order{carrier: &carrier}); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Duration(dice.IntN(300)) * time.Millisecond)
				}
				time.Sleep(8 * time.Second)
				_, live := h.to("proxy")
				_, there := w.proxy.to("h1")
				sent, lost, twice := s.end(to)
				if lost+twice > 0 || live != 1 || there != 1 {
					t.Errorf("of %d frames %d were lost, %d came twice; %d and %d sessions live", sent, lost, twice, live, there)
				}
			})
		})
	}
}

// Two sessions dialled at once from both ends: each end closes its own if the other's is the one that stays.
func TestBothDialAtOnceOneStays(t *testing.T) {
	inTown(t, 2, func(t *testing.T, w *town) {
		a, b := w.hosts[0], w.hosts[1]
		w.net.SetDefault(wan.Path{Delay: 200 * time.Millisecond}) // longer than the courtesy of the higher name
		w.fast(true, true)
		a.await("both sessions stand", func() bool { _, live := a.to("h2"); return live == 2 })
		time.Sleep(10 * time.Second)
		la, liveA := a.to("h2")
		lb, liveB := b.to("h1")
		if la == nil || lb == nil || la.ID() != lb.ID() || !la.Dialled() || liveA != 1 || liveB != 1 {
			t.Errorf("%d and %d sessions live", liveA, liveB)
		}
	})
}

// A link that is let go and wanted again at once is a new one, not the one that is ending.
func TestLetGoAndWantedAgain(t *testing.T) {
	inTown(t, 2, func(t *testing.T, w *town) {
		a := w.hosts[0]
		w.fast(true, true)
		a.await("the link is up", func() bool { l, _ := a.to("h2"); return l != nil })
		old, _ := a.to("h2")
		proven := make(chan error, 1)
		a.node.do(func(s *state) {
			spec := s.byPeer["h2"].spec
			s.unwant("h2")
			one := s.want(spec)
			one.waiting = append(one.waiting, func(err error) { proven <- err })
			if one.current.Load() != nil {
				a.node.prove(one)
			}
		})
		if err := <-proven; err != nil {
			t.Errorf("the link was not proven: %v", err)
		}
		if l, _ := a.to("h2"); l == nil || l == old {
			t.Error("no new session stands")
		}
	})
}

// A round trip longer than the silence that kills a link is no reason not to have one.
func TestALinkOverALongPath(t *testing.T) {
	inTown(t, 1, func(t *testing.T, w *town) {
		h := w.hosts[0]
		w.net.SetPathBoth(h.addr, w.proxy.addr, wan.Path{Delay: 450 * time.Millisecond})
		time.Sleep(time.Second)
		carrier := link.UDP
		if err := h.order(t, order{carrier: &carrier}); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		id := h.star().ID()
		time.Sleep(time.Minute)
		if l := h.star(); l == nil || l.ID() != id || l.Carrier() != link.UDP {
			t.Error("it does not last")
		}
	})
}

// What comes late over a session that was replaced does not undo what came since.
func TestLateNewsOfPlacesIsIgnored(t *testing.T) {
	inTown(t, 1, func(t *testing.T, w *town) {
		at := func(node overlay.Name) []control.Place {
			return []control.Place{{MAC: mac(9), Node: node, Mobility: 1}}
		}
		w.hosts[0].node.do(func(s *state) {
			s.directoryChanged(control.Directory{Version: 7, Full: true, Places: at("h3")})
			s.directoryChanged(control.Directory{Version: 7, Places: at("h2")})
			if s.places[mac(9)].Node != "h3" {
				t.Error("late news was believed")
			}
			s.directoryChanged(control.Directory{Version: 1, Full: true, Places: at("h4")})
			if s.places[mac(9)].Node != "h4" {
				t.Error("a Proxy that restarted was not believed")
			}
		})
	})
}

// order has the keeper of the star do something, and waits until it is done.
func (s *site) order(t *testing.T, o order) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := s.node.order(ctx, "proxy", o)
	synctest.Wait()
	return err
}
