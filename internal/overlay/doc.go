// Package overlay holds the whole overlay as data: nodes, ports, VMs, links and rules, with what can be worked out from
// them alone (the path of a frame, the cycles of a rule set, the stages of a change).
//
// It does not forward frames (see forward), carry out changes (see control and node) or decide which change is worth
// making (see adapt).
package overlay
