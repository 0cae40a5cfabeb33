package adapt

import (
	"fmt"
	"strings"
	"time"
)

// Policy is a pure function: what is known goes in, what should be done comes out. The same view at the same time gives the
// same proposal; a policy keeps nothing between two calls (what it needs of before is in View.Past) and changes no part of the
// view. Its proposal has no steps when the overlay is as it should be.
type Policy func(now time.Time, v View) Proposal

// Named is a policy that can be chosen by name.
type Named struct {
	Name   string
	Text   string // what it does, in one line
	Policy Policy
	Matrix bool // it needs View.Matrix
	Judged bool // the effect of its changes is judged; the policies it is compared with are taken as they are
}

// AgentPolicy is the name of the policy that does what a program of the user's asks for.
const AgentPolicy = "agent"

// Policies are all that can be chosen, the default first. Besides the default they are what other systems do, to compare
// with in the same daemon.
func Policies() []Named {
	return []Named{
		{Name: "fastpath", Text: "direct links for the strongest pairs of the inferred topology (the paper's section 4)", Policy: Fastpath, Judged: true},
		{Name: "star", Text: "everything through the Proxy", Policy: Star},
		{Name: "mesh", Text: "a direct link between any two nodes that have VMs, whoever talks", Policy: Mesh},
		{Name: "first-packet", Text: "a direct link for any pair that talks, until it is silent for 180 s", Policy: FirstPacket, Matrix: true},
		{Name: "byte-threshold", Text: "a direct link for 180 s for a pair that moves 10 MB in 10 s, as EVIO does", Policy: ByteThreshold, Matrix: true},
		{Name: "oracle", Text: "direct links for the pairs it is told in advance", Policy: Oracle},
		{Name: AgentPolicy, Text: "what a program asks for that holds the lease; the star when none does", Policy: Agent, Judged: true},
	}
}

// PolicyNamed finds a policy; the empty name is the default.
func PolicyNamed(name string) (Named, error) {
	var names []string
	for i, p := range Policies() {
		if p.Name == name || name == "" && i == 0 {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Named{}, fmt.Errorf("cannot adapt by policy %q: it is one of %s", name, strings.Join(names, ", "))
}

// Check says what is wrong with a configuration.
func (c Config) Check() error {
	if _, err := PolicyNamed(c.Policy); err != nil {
		return err
	}
	if c.MaxLinks < 0 || c.MaxPerNode < 0 {
		return fmt.Errorf("cannot allow fewer than no links: 0 is no limit")
	}
	_, err := readTold(c.Told)
	return err
}
