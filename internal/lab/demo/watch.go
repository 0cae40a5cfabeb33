package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/program"
)

// event is one line of `vnet events -o json`.
type event struct {
	Time   time.Time
	Kind   string
	Text   string
	Fields map[string]string
}

// watcher follows what happens at the Proxy.
type watcher struct {
	view *View
	mu   sync.Mutex // guards the following
	all  []event
	news chan struct{} // closed and replaced at each event
}

func watch(l *lab.Lab, view *View) (*watcher, error) {
	w := &watcher{view: view, news: make(chan struct{})}
	_, err := l.Command("proxy", []string{lab.Self, "events", "-o", "json"}, lab.CmdOptions{Name: "vnet", Stdout: &program.Lines{Take: w.line}})
	return w, err
}

func (w *watcher) line(text string) {
	var m struct{ Event event }
	if err := json.Unmarshal([]byte(text), &m); err != nil || m.Event.Kind == "" {
		return
	}
	ev := m.Event
	w.mu.Lock()
	w.all = append(w.all, ev)
	close(w.news)
	w.news = make(chan struct{})
	w.mu.Unlock()
	w.view.event(ev)
}

// await waits for an event of a kind after a time, and returns when it happened.
func (w *watcher) await(ctx context.Context, app *program.Application, kind string, after time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, program.Patience)
	defer cancel()
	for {
		w.mu.Lock()
		news := w.news
		for _, ev := range w.all {
			if ev.Kind == kind && ev.Time.After(after) {
				w.mu.Unlock()
				return ev.Time, nil
			}
		}
		w.mu.Unlock()
		select {
		case <-news:
		case <-app.Ended():
			return time.Time{}, fmt.Errorf("%w: %s", program.ErrStopped, app.Said())
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("no %q within %v", kind, program.Patience)
		}
	}
}

// last is when an event of a kind happened last.
func (w *watcher) last(kind string) (at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ev := range w.all {
		if ev.Kind == kind {
			at = ev.Time
		}
	}
	return at
}
