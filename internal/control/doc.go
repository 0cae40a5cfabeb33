// Package control is how nodes and the Proxy agree: session machines that take the time and an event and answer with effects.
//
// It does not encode, send, open, measure or forward anything: node and proxy convert its messages to the wire, carry out its
// effects and feed what came of them back as events. No machine here starts a goroutine, reads a clock or is safe for
// concurrent use (Reflections apart, which says so): each has one owner, the goroutine that calls Step.
package control
