package program

import (
	"strings"
	"sync"
)

// Lines is a writer that hands on whole lines, and remembers what it was given when nobody takes them.
type Lines struct {
	Take func(string)

	mu   sync.Mutex // guards the following
	rest strings.Builder
}

// Write takes bytes as they come.
func (l *Lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest.Write(b)
	if l.Take == nil {
		return len(b), nil
	}
	text := l.rest.String()
	for {
		line, after, ok := strings.Cut(text, "\n")
		if !ok {
			break
		}
		l.Take(line)
		text = after
	}
	l.rest.Reset()
	l.rest.WriteString(text)
	return len(b), nil
}

// String is what nobody took.
func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(l.rest.String())
}
