package link

import (
	"sync"
	"testing"
	"time"

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
