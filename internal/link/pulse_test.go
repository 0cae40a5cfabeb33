package link

import (
	"sync"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// beatLog is when the heartbeats of one side went out.
type beatLog struct {
	mu   sync.Mutex
	sent []time.Time
}

func (b *beatLog) write(d []byte) int {
	if h, ok := parseHeader(d); ok && h.kind == dgramHouse && len(d) == headerLen+beatLen+tagLen {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.sent = append(b.sent, time.Now())
	}
	return 1
}

// take returns what was sent since the last time.
func (b *beatLog) take() []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	sent := b.sent
	b.sent = nil
	return sent
}

func TestAHeartbeatIsAnsweredInItsTurn(t *testing.T) {
	for _, delay := range []time.Duration{time.Millisecond, 70 * time.Millisecond, 180 * time.Millisecond} {
		t.Run(delay.String(), func(t *testing.T) {
			simulate(t, wan.Path{Delay: delay}, func(t *testing.T, w *world) {
				out, in := dial(t, w.a, w.b, UDP)
				time.Sleep(time.Second)
				var asks, answers beatLog
				w.doorA.meddle(asks.write)
				w.doorB.meddle(answers.write)
				time.Sleep(delay) // what is under way was not logged
				answers.take()
				const periods = 20
				time.Sleep(periods * beatEvery)
				w.net.CutOneWay(addrA, addrB)
				time.Sleep(delay) // what is under way arrives
				asked, answered := asks.take(), answers.take()
				if n := len(answered); n < periods-1 || n > periods+2 || len(asked) < periods {
					t.Fatalf("in %d periods %d heartbeats were sent and %d came back", periods, len(asked), n)
				}
				for i, at := range answered {
					if late := at.Sub(asked[i].Add(delay)); late != 0 {
						t.Errorf("heartbeat %d was answered %v after it came", i, late)
					}
				}
				<-in.Done() // it hears nothing any more, and goes on beating by its own clock until then
				last, want := answered[len(answered)-1], beatEvery+answerSlack
				for _, at := range answers.take() {
					if at.Sub(last) > want {
						t.Errorf("%v after its last heartbeat it sent the next, not after %v", at.Sub(last), want)
					}
					last, want = at, beatEvery
				}
				<-out.Done()
			})
		})
	}
}

// TestALongPath: the first words of a peer that is far away are not late, and what it says later is not old.
func TestALongPath(t *testing.T) {
	for _, carrier := range carriers {
		t.Run(carrier.String(), func(t *testing.T) {
			simulate(t, wan.Path{Delay: 500 * time.Millisecond}, func(t *testing.T, w *world) {
				out, in := dial(t, w.a, w.b, carrier)
				time.Sleep(5 * time.Second)
				if out.Err() != nil || in.Err() != nil {
					t.Fatalf("it ended: %v, %v", out.Err(), in.Err())
				}
			})
		})
	}
}

// TestASilenceThatIsNone: over tcp, which may be sending again, a link is given up later than over udp.
func TestASilenceThatIsNone(t *testing.T) {
	for _, carrier := range carriers {
		t.Run(carrier.String(), func(t *testing.T) {
			simulate(t, wan.Path{Delay: time.Millisecond}, func(t *testing.T, w *world) {
				out, in := dial(t, w.a, w.b, carrier)
				time.Sleep(time.Second)
				w.net.Cut(addrA, addrB)
				time.Sleep(silentLimit + beatEvery)
				w.net.Heal(addrA, addrB)
				time.Sleep(2 * time.Second)
				if lives := carrier == TCP; (out.Err() == nil) != lives || (in.Err() == nil) != lives {
					t.Fatalf("after %v without a word: %v, %v", silentLimit+beatEvery, out.Err(), in.Err())
				}
			})
		})
	}
}

// TestTheDeadSayNoMore: after a link's last words, its peer's or its own, an end answers no heartbeat, nor believes one that was
// under way then.
func TestTheDeadSayNoMore(t *testing.T) {
	for _, byPeer := range []bool{true, false} {
		simulate(t, wan.Path{Delay: time.Millisecond}, func(t *testing.T, w *world) {
			out, in := dial(t, w.a, w.b, UDP)
			time.Sleep(time.Second)
			out.Send(0, []ether.Packet{frame(0, 60), frame(1, 60)})
			time.Sleep(time.Second + beatEvery/2) // since when the last was answered
			var answers beatLog
			if byPeer {
				out.Close("enough")
				<-in.Done()
				w.doorB.meddle(answers.write)
				in.told(beat{sent: time.Hour, frames: 1}, time.Now()) // which the last words have overtaken
			} else {
				w.doorB.meddle(answers.write)
				in.Close("enough")
				in.told(beat{sent: time.Hour, frames: 2}, time.Now())
			}
			time.Sleep(10 * time.Millisecond)
			if n := len(answers.take()); n > 0 {
				t.Errorf("by the peer: %v: it was answered %d times", byPeer, n)
			}
			if s := in.Stats(); s.PeerFramesSent != 2 || s.WireLost != 0 {
				t.Errorf("by the peer: %v: of its two frames there are %d, %d lost", byPeer, s.PeerFramesSent, s.WireLost)
			}
		})
	}
}
