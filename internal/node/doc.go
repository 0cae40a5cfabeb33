// Package node is a VNET daemon: it owns the ports, the links, the forwarding
// snapshot and the counters of one machine.
//
// It forwards, learns, keeps its links up and carries out the stages of a
// change; it does not decide what the overlay should look like (see proxy and
// adapt) and answers no client itself (see server).
//
// Who runs: one worker per port queue and one per socket of the link endpoint
// (worker.go) carry frames on an immutable snapshot; the loop (loop.go) owns
// everything that changes and publishes snapshots; one keeper per wanted link
// (keeper.go) dials; one reader per link (session.go) reads its control
// stream. Workers never wait for any of the others.
package node
