// Package simulate runs the paper's experiments in virtual time: the nodes and the Proxy are the real ones on a network made
// of memory, the application's bytes are a model.
//
// What is real: every control message, heartbeat, handshake, report, inference, proposal, stage, rule and link, and numbered
// probe frames between the VMs that talk. What is modelled: the application's TCP connections, as flows that follow the nodes'
// forwarding tables and share the wires fairly (flows.go, window.go); they are counted at the nodes as frames would be. The
// queue of a wire that is full delays control messages and probes on it; it drops none of them. docs/experiments.md holds the
// model against the lab.
package simulate
