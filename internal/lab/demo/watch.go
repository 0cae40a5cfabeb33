package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
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
	_, err := l.Command("proxy", []string{lab.Self, "events", "-o", "json"}, lab.CmdOptions{Name: "vnet", Stdout: &lines{take: w.line}})
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
func (w *watcher) await(ctx context.Context, app *application, kind string, after time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
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
		case <-app.anyEnded():
			return time.Time{}, fmt.Errorf("%w: %s", errStopped, app.said())
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("no %q within %v", kind, patience)
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

// lines is a writer that hands on whole lines, and remembers what it was given when nobody takes them.
type lines struct {
	take func(string)

	mu   sync.Mutex // guards the following
	rest strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest.Write(b)
	if l.take == nil {
		return len(b), nil
	}
	text := l.rest.String()
	for {
		line, after, ok := strings.Cut(text, "\n")
		if !ok {
			break
		}
		l.take(line)
		text = after
	}
	l.rest.Reset()
	l.rest.WriteString(text)
	return len(b), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(l.rest.String())
}
