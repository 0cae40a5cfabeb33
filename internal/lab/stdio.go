package lab

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// stdio connects a program's descriptors 0 to 2 with readers and writers of this process.
type stdio struct {
	given   []*os.File // the program's ends: closed here once they are passed
	kept    []*os.File // our ends of pipes
	copying sync.WaitGroup
}

// lingering is how long output may still come after the program has ended, from children that kept its pipe.
const lingering = time.Second

func (s *stdio) open(o CmdOptions) ([]*os.File, error) {
	files := make([]*os.File, 0, 3)
	in, err := s.input(o.Stdin)
	files = append(files, in)
	for _, w := range []io.Writer{o.Stdout, o.Stderr} {
		if err != nil {
			break
		}
		var f *os.File
		if f, err = s.sink(w); err == nil {
			files = append(files, f)
		}
	}
	if err != nil {
		s.handedOver()
		s.abort()
		return nil, fmt.Errorf("cannot connect the program's input and output: %w", err)
	}
	return files, nil
}

func (s *stdio) input(r io.Reader) (*os.File, error) {
	switch r := r.(type) {
	case nil:
		return s.null(os.O_RDONLY)
	case *os.File:
		return r, nil
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.given, s.kept = append(s.given, theirs), append(s.kept, ours)
	go func() { // ends when the input does, or finish closes the pipe
		_, _ = io.Copy(ours, r)
		ours.Close()
	}()
	return theirs, nil
}

func (s *stdio) sink(w io.Writer) (*os.File, error) {
	switch w := w.(type) {
	case nil:
		return s.null(os.O_WRONLY)
	case *os.File:
		return w, nil
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.given, s.kept = append(s.given, theirs), append(s.kept, ours)
	s.copying.Add(1)
	go func() {
		defer s.copying.Done()
		_, _ = io.Copy(w, ours) // a writer that refuses loses the rest
	}()
	return theirs, nil
}

func (s *stdio) null(mode int) (*os.File, error) {
	f, err := os.OpenFile(os.DevNull, mode, 0)
	if err == nil {
		s.given = append(s.given, f)
	}
	return f, err
}

// handedOver closes our copies of what the program has now.
func (s *stdio) handedOver() {
	closeAll(s.given)
	s.given = nil
}

// abort ends the copying of a program that never ran.
func (s *stdio) abort() {
	closeAll(s.kept)
	s.copying.Wait()
}

// finish waits for the rest of the output.
func (s *stdio) finish() {
	drained := make(chan struct{})
	go func() { s.copying.Wait(); close(drained) }()
	t := time.NewTimer(lingering)
	defer t.Stop()
	select {
	case <-drained:
	case <-t.C:
	}
	closeAll(s.kept)
	<-drained
}

// tail keeps the last of what is written to it: enough for a panic's first lines.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 16 << 10 // bytes

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = t.buf[over:]
	}
	return len(b), nil
}

// last is what was written, on a line of its own; "" when nothing was.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.buf) == 0 {
		return ""
	}
	return "\n" + string(t.buf)
}
