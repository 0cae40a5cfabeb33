package proxy

import "sync"

// mailbox holds what the hub has yet to look at. Leaving something never
// waits, so the node's loop may do it while the hub asks the node something.
type mailbox struct {
	mu      sync.Mutex // guards the following
	waiting []func(*hub)
	signal  chan struct{} // has a token while something waits
}

func newMailbox() *mailbox { return &mailbox{signal: make(chan struct{}, 1)} }

func (m *mailbox) leave(fn func(*hub)) {
	m.mu.Lock()
	m.waiting = append(m.waiting, fn)
	m.mu.Unlock()
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() []func(*hub) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.waiting
	m.waiting = nil
	return all
}
