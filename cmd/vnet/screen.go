package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab/demo"
)

const (
	// redraw is how often the picture is drawn anew: smooth to the eye, nothing to the machine.
	redraw = 150 * time.Millisecond
	// storyLines is how many lines of the story stay below the picture.
	storyLines = 9
)

// screen draws the demo on a terminal until stopped.
type screen struct {
	out    io.Writer
	view   *demo.View
	colour bool
	quit   chan struct{}
	done   chan struct{}
}

func newScreen(out io.Writer, view *demo.View, colour bool) *screen {
	s := &screen{out: out, view: view, colour: colour, quit: make(chan struct{}), done: make(chan struct{})}
	fmt.Fprint(out, "\x1b[?25l\x1b[2J") // hide the cursor, clear
	go s.run()
	return s
}

func (s *screen) run() {
	defer close(s.done)
	ticker := time.NewTicker(redraw)
	defer ticker.Stop()
	for {
		s.draw()
		select {
		case <-ticker.C:
		case <-s.quit:
			s.draw()
			return
		}
	}
}

func (s *screen) stop() {
	close(s.quit)
	<-s.done
	fmt.Fprint(s.out, "\x1b[?25h\n") // show the cursor
}

func (s *screen) draw() {
	now := s.view.Snapshot()
	var b strings.Builder
	b.WriteString("\x1b[H")
	for _, line := range drawOverlay(now, s.colour) {
		b.WriteString(line + "\x1b[K\n")
	}
	b.WriteString("\x1b[K\n")
	if n := len(now.Iterations); n > 0 {
		fmt.Fprintf(&b, "  iteration %7.1f ms  %s\x1b[K\n\x1b[K\n", now.Iterations[n-1], sparkline(now.Iterations))
	}
	lines := now.Lines[max(0, len(now.Lines)-storyLines):]
	for _, l := range lines {
		fmt.Fprintf(&b, "  %6.1fs  %s\x1b[K\n", l.At.Seconds(), l.Text)
	}
	b.WriteString("\x1b[J")
	io.WriteString(s.out, b.String())
}

// sparkline draws values as bars, the largest as a full one.
func sparkline(values []float64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	top := 0.0
	for _, v := range values {
		top = max(top, v)
	}
	var b strings.Builder
	for _, v := range values {
		i := 0
		if top > 0 {
			i = min(int(v/top*float64(len(bars))), len(bars)-1)
		}
		b.WriteRune(bars[max(i, 0)])
	}
	return b.String()
}
