package node

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
)

// eventsKept is how many events a daemon remembers for whoever asks later.
const eventsKept = 512

// Event is one thing that happened, for people who watch.
type Event struct {
	Time   time.Time
	Node   string
	Kind   string // of Kinds
	Text   string
	Fields map[string]string
}

// Events is a bounded memory of what happened, and a place to wait for more.
type Events struct {
	mu    sync.Mutex // guards the following
	kept  []Event
	total int           // events ever
	more  chan struct{} // closed and replaced at each event
}

// NewEvents makes an empty memory.
func NewEvents() *Events { return &Events{more: make(chan struct{})} }

// Add remembers an event.
func (e *Events) Add(ev Event) {
	if len(ev.Text) > maxEventText {
		ev.Text = printable(ev.Text, maxEventText-len(" …")) + " …"
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept = append(e.kept, ev)
	if len(e.kept) > eventsKept {
		e.kept = append(e.kept[:0], e.kept[len(e.kept)-eventsKept:]...)
	}
	e.total++
	close(e.more)
	e.more = make(chan struct{})
}

// Since returns the events after the first n, the number to ask with next, and
// a channel that is closed when there are more. Events that fell out of memory are left out.
func (e *Events) Since(n int) ([]Event, int, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	missing := e.total - n
	if missing > len(e.kept) || missing < 0 {
		missing = len(e.kept)
	}
	return append([]Event(nil), e.kept[len(e.kept)-missing:]...), e.total, e.more
}

// Events are what this node saw happen.
func (n *Node) Events() *Events { return n.events }

func (n *Node) event(ev Event) {
	ev.Time, ev.Node = time.Now(), string(n.name)
	n.events.Add(ev)
	n.cfg.Log.Info(ev.Text, "kind", ev.Kind)
	if !n.isProxy() { // the Proxy sees what happens at all nodes
		n.tell(ev)
	}
}

// slotEvent tells of a neighbour that came or went.
func slotEvent(one *slot, now *link.Link) Event {
	fields := map[string]string{"peer": string(one.peer), "kind": one.kind.String()}
	if now == nil {
		text := fmt.Sprintf("link to %s is down", one.peer)
		if one.lastErr != "" { // or it was closed because nobody wants it any more
			text += ": " + one.lastErr
		}
		return Event{Kind: "link.down", Text: text, Fields: fields}
	}
	fields["carrier"] = now.Carrier().String()
	return Event{Kind: "link.up", Text: fmt.Sprintf("link to %s is up over %s", one.peer, now.Carrier()), Fields: fields}
}

// wanted tells whether a kind was asked for; "link" asks for all "link.…".
func wanted(kinds []string, kind string) bool {
	return len(kinds) == 0 || slices.ContainsFunc(kinds, func(k string) bool { return k == kind || strings.HasPrefix(kind, k+".") })
}

func eventOut(ev Event) *vnetv1.Event {
	return &vnetv1.Event{Time: timestamppb.New(ev.Time), Node: ev.Node, Kind: ev.Kind, Text: ev.Text, Fields: ev.Fields}
}
