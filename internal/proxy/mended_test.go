package proxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// Whoever dies in the midst of a change, the Proxy too: a while later every
// node holds what the record says, and nothing else.
func TestNodesHoldTheRecordAfterCrashes(t *testing.T) {
	p := issuePapers(t, 4)
	for seed := uint64(1); seed <= 15; seed++ {
		synctest.Test(t, func(t *testing.T) {
			s := &story{sum: &tally{}}
			s.world = newWorld(t, p, seed, wan.Path{Delay: 3 * time.Millisecond}, 0, 1, 1, 1)
			defer s.stop()
			s.await("all hosts are there", s.up)
			s.greet()
			time.Sleep(300 * time.Millisecond)
			dice := rand.New(rand.NewPCG(seed, 2))
			var clients sync.WaitGroup
			for range 6 {
				steps := []func(){s.addLink(), s.addRule(), s.addRule(), s.deleteRule(), s.deleteLink()}
				for _, step := range steps[:2+dice.IntN(4)] {
					clients.Go(step)
				}
				time.Sleep(time.Duration(dice.IntN(40)) * time.Millisecond)
				m := s.machines()[dice.IntN(len(s.machines()))]
				m.crash()
				time.Sleep(time.Duration(dice.IntN(4000)) * time.Millisecond)
				if m == s.proxy {
					clients.Wait() // it has told them that it stops
				}
				m.start()
				for _, g := range m.guests {
					g.send(broadcast)
				}
				time.Sleep(time.Duration(dice.IntN(2000)) * time.Millisecond)
			}
			s.await("all hosts are back", s.up)
			clients.Wait()
			var wrong string
			for range 600 {
				synctest.Wait()
				if wrong = s.strays(); wrong == "" {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			if wrong != "" {
				t.Errorf("world %d, a minute after the last crash:\n%s\n%s", seed, wrong, strings.Join(s.log, "\n"))
			}
		})
	}
}

// strays says what nodes hold that is not in the record, or lack.
func (s *story) strays() string {
	record := s.record()
	var found []string
	for _, m := range s.machines() {
		name := overlay.Name(m.name)
		held := daemonOf(m).Holds()
		var have, want, links, peers []string
		for _, r := range held.Rules {
			have = append(have, fmt.Sprint(r.ID, " ", r))
		}
		for _, r := range record.Nodes[name].Rules {
			want = append(want, fmt.Sprint(r.ID, " ", r))
		}
		for _, l := range held.Links {
			links = append(links, string(l.Peer))
		}
		for _, peer := range record.Peers(name) {
			peers = append(peers, string(peer))
		}
		for _, list := range [][]string{have, want, links, peers} {
			slices.Sort(list)
		}
		if !slices.Equal(have, want) || !slices.Equal(links, peers) {
			found = append(found, fmt.Sprintf("%s holds %q and links %q; the record says %q and %q", name, have, links, want, peers))
		}
	}
	quiet := false
	s.proxy.proxy.ask(context.Background(), func(h *hub) { quiet = h.changes.quiet() && h.audited() })
	if !quiet {
		found = append(found, "changes are under way")
	}
	return strings.Join(found, "\n")
}

func daemonOf(m *machine) *node.Node { return m.node }
