package adapt

import (
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// Planner asks a policy again and again, and remembers for it what was before. It belongs to one goroutine.
type Planner struct {
	cfg    Config
	policy Named
	past   Past
	last   Proposal
	nextID uint64
}

// NewPlanner makes a planner. An unknown policy is the default; see Config.Check.
func NewPlanner(c Config) *Planner {
	p := &Planner{nextID: 1}
	p.Configure(c)
	return p
}

// Configure replaces the configuration from the next Step on.
func (p *Planner) Configure(c Config) {
	p.cfg = c
	policy, err := PolicyNamed(c.Policy)
	if err != nil {
		policy, _ = PolicyNamed("")
	}
	p.policy = policy
}

// Policy is the policy that is asked.
func (p *Planner) Policy() Named { return p.policy }

// Judged tells whether the effect of changes is to be judged.
func (p *Planner) Judged() bool { return p.policy.Judged && !p.cfg.Unchecked }

// Fill is the view with what the planner knows of before; Step does it by itself.
func (p *Planner) Fill(v View) View {
	v.Config, v.Past = p.cfg, p.past
	return v
}

// Step looks at the view and proposes a change; it is false when the overlay is as it should be, and the proposal then only
// tells what was weighed and left.
func (p *Planner) Step(now time.Time, v View) (Proposal, bool) {
	if v.Overlay == nil {
		return Proposal{}, false
	}
	p.past = p.past.next(now, v)
	if p.cfg.Mode == Observe {
		return Proposal{}, false
	}
	next := p.policy.Policy(now, p.Fill(v))
	if len(next.Steps) == 0 {
		p.last = Proposal{}
		return next, false
	}
	next.ID = p.nextID
	if slices.Equal(whats(p.last.Steps), whats(next.Steps)) {
		next.ID = p.last.ID
	} else {
		p.nextID++
	}
	p.last = next
	p.past.left = map[vttif.Pair]bool{}
	for _, pair := range next.restored {
		p.past.left[pair] = true
	}
	return next, true
}

// whats is what the steps do; their reasons name rates, which move while nothing else does.
func whats(steps []Step) []string {
	var text []string
	for _, s := range steps {
		text = append(text, s.Kind.String()+" "+s.What)
	}
	return text
}
