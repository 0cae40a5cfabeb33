// Package proxy is the Proxy: a node that also enrols hosts, keeps the record
// of the overlay, infers the application topology and adapts to it.
//
// One goroutine, the hub, owns all of that (hub.go); everybody else leaves it a
// message in its mailbox and none of them waits inside the hub. It forwards no
// frame itself (see node) and decides no topology itself (see vttif and adapt).
package proxy
