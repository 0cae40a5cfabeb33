package node

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// errAway is what a caller hears when the control stream ends before the answer.
var errAway = errors.New("cannot reach the other daemon: its star link went down; try again")

// calls are the questions we asked over control streams and await answers to.
type calls struct {
	mu   sync.Mutex // guards the following
	last uint64
	open map[uint64]chan control.Answer
}

func (c *calls) begin() (uint64, chan control.Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	if c.open == nil {
		c.open = map[uint64]chan control.Answer{}
	}
	answer := make(chan control.Answer, 1)
	c.open[c.last] = answer
	return c.last, answer
}

func (c *calls) end(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, id)
}

func (c *calls) answered(a control.Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer, ok := c.open[a.ID]; ok {
		delete(c.open, a.ID)
		answer <- a
	}
}

// failAll tells every caller that no answer will come.
func (c *calls) failAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, answer := range c.open {
		delete(c.open, id)
		answer <- control.Answer{ID: id, Code: "unavailable", Error: errAway.Error()}
	}
}

// Call asks another daemon and waits for its answer: at a host through the
// Proxy, at the Proxy over the star link of the node asked for.
func (n *Node) Call(ctx context.Context, at overlay.Name, method string, body []byte) (control.Answer, error) {
	id, answer := n.calls.begin()
	defer n.calls.end(id)
	call := control.Call{ID: id, Node: at, Method: method, Body: body}
	var err error
	if n.isProxy() {
		err = n.SendTo(at, call)
	} else if star := n.starLink(); star != nil {
		err = n.send(star, call)
	} else {
		err = fmt.Errorf("cannot ask %q: the link to the Proxy is down", at)
	}
	if err != nil {
		return control.Answer{}, err
	}
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		return control.Answer{}, fmt.Errorf("cannot ask %q: no answer in time: %w", at, ctx.Err())
	case <-n.ctx.Done():
		return control.Answer{}, errAway
	}
}

// MethodHello asks a node what it holds; the answer's body is an encoded
// control.Hello. The Proxy asks it when it is in doubt.
const MethodHello = "Hello"

// Holds is what the node has now, as a Hello tells it.
func (n *Node) Holds() (hello control.Hello) {
	n.do(func(s *state) { hello = s.hello() })
	return hello
}

// serve answers a call off the reader.
func (n *Node) serve(c control.Call, reply func(control.Answer)) {
	if c.Method == MethodHello {
		a := control.Answer{ID: c.ID}
		var err error
		if a.Body, err = Encode(n.Holds()); err != nil {
			a.Code, a.Error = "internal", err.Error()
		}
		reply(a)
		return
	}
	if c.Method == MethodProbe {
		reply(n.serveProbe(c))
		return
	}
	n.keepers.Add(1)
	go func() {
		defer n.keepers.Done()
		if c.Method == MethodTrust {
			reply(n.serveTrust(c))
			return
		}
		if c.Method == MethodSeal {
			reply(n.serveSeal(c))
			return
		}
		if c.Method == MethodSealWith {
			reply(n.sealWith(c))
			return
		}
		reply(n.Serve(c))
	}()
}
