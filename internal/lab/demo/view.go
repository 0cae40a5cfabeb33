package demo

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// shownIterations is how many iterations the sparkline can show.
const shownIterations = 64

// View is what is known so far, for whoever draws it. Its methods may be called from any goroutine.
type View struct {
	began time.Time

	mu   sync.Mutex // guards the following
	now  Snapshot
	said func(Line) // told of every line
}

// Line is one line of the story.
type Line struct {
	At   time.Duration // since the beginning
	Text string
}

// Snapshot is a copy of the view.
type Snapshot struct {
	VMs        int
	Lines      []Line
	Iterations []float64   // milliseconds, of rank 0, the newest last
	Links      [][2]string // fast paths that stand, as hosts
	Topology   string
}

func newView(cfg Config) *View {
	return &View{began: time.Now(), now: Snapshot{VMs: cfg.VMs}}
}

// OnLine has fn called with every line of the story from now on.
func (v *View) OnLine(fn func(Line)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.said = fn
}

// Snapshot copies what is known now.
func (v *View) Snapshot() Snapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.now
	s.Lines = append([]Line(nil), s.Lines...)
	s.Iterations = append([]float64(nil), s.Iterations...)
	s.Links = append([][2]string(nil), s.Links...)
	return s
}

// Say adds a line to the story.
func (v *View) Say(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.add(fmt.Sprintf(format, args...))
}

func (v *View) add(text string) {
	line := Line{At: time.Since(v.began), Text: text}
	v.now.Lines = append(v.now.Lines, line)
	if v.said != nil {
		v.said(line)
	}
}

func (v *View) iteration(ms float64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now.Iterations = append(v.now.Iterations, ms)
	v.now.Iterations = v.now.Iterations[max(0, len(v.now.Iterations)-shownIterations):]
}

// event takes what happened at the Proxy into the picture.
func (v *View) event(ev event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch ev.Kind {
	case "topology":
		v.now.Topology = ev.Text
		v.add("the Proxy " + ev.Text)
	case "adapt.open_link":
		if a, b, ok := strings.Cut(ev.Fields["what"], "–"); ok {
			v.now.Links = append(v.now.Links, [2]string{a, b})
		}
		v.add(ev.Text)
	case "adapt.close_link", "adapt.failed", "change.committed", "change.failed", "link.down", "node.down", "warning":
		v.add(ev.Text)
	}
}
