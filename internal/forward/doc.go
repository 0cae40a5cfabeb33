// Package forward is the forwarding table of one node: which side a frame leaves by, and why.
//
// It does not touch frames, count them or know what is behind a side (see node), nor where rules come from (see overlay).
package forward
