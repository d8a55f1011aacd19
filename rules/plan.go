package rules

import "maps"

// plan is a program as one kind of event needs it: the lines that may match, and where each leads.
type plan struct {
	steps []planStep
	first int32
}

// planStep is a line that depends on more than the event's kind. next and jump are indexes in the plan: the line to go
// on with, and the one to go on with when this one matched; len(steps) is the end.
type planStep struct {
	line       *line
	next, jump int32
}

// maxPlans bounds the plans that are kept. A machine has some tens of kinds of events; a sender of made-up subsystems
// makes the collection start anew.
const maxPlans = 1024

// planKey is a kind of event, as bytes: see state.planKey.
type planKey string

// eventKind is what a plan decides beforehand.
type eventKind struct {
	action, subsystem string
	kernels           []uint64 // a bit for each pattern of kernelIndex that the device's name matches
	uses              lineUse  // what a line must have one of
}

// plan returns the plan for the state's event.
func (p *Program) plan(s *state) *plan {
	key := s.planKey()
	if found := (*p.plans.Load())[planKey(key)]; found != nil {
		return found
	}
	made := p.makePlan(&s.kind)
	p.plansLock.Lock()
	defer p.plansLock.Unlock()
	plans := *p.plans.Load()
	if len(plans) >= maxPlans {
		plans = nil
	}
	plans = maps.Clone(plans)
	if plans == nil {
		plans = map[planKey]*plan{}
	}
	plans[planKey(key)] = made
	p.plans.Store(&plans)
	return made
}

// fate is what an event's kind makes of a line.
type fate uint8

const (
	never  fate = iota // it does not match, or has nothing to do
	always             // it matches, and does nothing but jump or be jumped to
	depends
)

func (l *line) fate(e *eventKind) fate {
	if l.uses&e.uses == 0 {
		return never
	}
	for i := range l.fixed {
		if !l.tokens[i].decide(e) {
			return never
		}
	}
	if l.fixed == len(l.tokens) {
		return always
	}
	return depends
}

// decide says whether a fixed token holds for a kind of event.
func (t *token) decide(e *eventKind) bool {
	var match bool
	switch t.kind {
	case matchAction:
		match = t.match.match(e.action)
	case matchSubsystem:
		match = t.match.match(e.subsystem)
	case matchKernel:
		match = e.kernels[t.number/64]&(1<<(t.number%64)) != 0
	}
	return match == (t.op == opMatch)
}

func (p *Program) makePlan(e *eventKind) *plan {
	n := len(p.lines)
	fates := make([]fate, n)
	lead := make([]int32, n+1) // the line that is tried when line i is reached
	lead[n] = int32(n)
	for i := n - 1; i >= 0; i-- {
		l := &p.lines[i]
		fates[i] = l.fate(e)
		switch {
		case fates[i] == depends:
			lead[i] = int32(i)
		case fates[i] == always && l.target >= 0:
			lead[i] = lead[l.target]
		default:
			lead[i] = lead[i+1]
		}
	}
	reached := make([]bool, n+1)
	reached[lead[0]] = true
	count := int32(0)
	place := make([]int32, n+1)
	for i := range n {
		if !reached[i] {
			continue
		}
		place[i] = count
		count++
		reached[lead[i+1]] = true
		if t := p.lines[i].target; t >= 0 {
			reached[lead[t]] = true
		}
	}
	place[n] = count
	made := &plan{steps: make([]planStep, 0, count), first: place[lead[0]]}
	for i := range n {
		if !reached[i] {
			continue
		}
		step := planStep{line: &p.lines[i], next: place[lead[i+1]]}
		step.jump = step.next
		if t := p.lines[i].target; t >= 0 {
			step.jump = place[lead[t]]
		}
		made.steps = append(made.steps, step)
	}
	return made
}

// straightPlan has every line, none decided.
func (p *Program) straightPlan() *plan {
	made := &plan{steps: make([]planStep, len(p.lines))}
	for i := range p.lines {
		made.steps[i] = planStep{line: &p.lines[i], next: int32(i + 1), jump: int32(i + 1)}
		if t := p.lines[i].target; t >= 0 {
			made.steps[i].jump = int32(t)
		}
	}
	return made
}

// kernelIndex holds the different patterns that KERNEL is compared with, so that a device's name is compared with each
// once, and only with those that may begin as it does.
type kernelIndex struct {
	patterns []*pattern
	numbers  map[kernelPattern]int
	byFirst  [256][]kernelMember
	anyFirst []kernelMember
	words    int
}

type kernelPattern struct {
	value string
	fold  bool
}

type kernelMember struct {
	number int
	member *member
	fold   bool
}

// add returns the number of the token's pattern.
func (k *kernelIndex) add(t *token) int {
	key := kernelPattern{t.value, t.match.fold}
	if n, ok := k.numbers[key]; ok {
		return n
	}
	if k.numbers == nil {
		k.numbers = map[kernelPattern]int{}
	}
	n := len(k.patterns)
	k.numbers[key] = n
	p := t.match
	k.patterns = append(k.patterns, &p)
	return n
}

func (k *kernelIndex) seal() {
	k.words = (len(k.patterns) + 63) / 64
	for n, p := range k.patterns {
		if p.how != patternList {
			continue
		}
		for i := range p.members {
			m := kernelMember{n, &p.members[i], p.fold}
			if m.member.prefix == "" {
				k.anyFirst = append(k.anyFirst, m)
				continue
			}
			c := m.member.prefix[0]
			k.byFirst[c] = append(k.byFirst[c], m)
			if p.fold && lower(c) != upper(c) {
				other := lower(c) ^ upper(c) ^ c
				k.byFirst[other] = append(k.byFirst[other], m)
			}
		}
	}
}

// match sets the bits of the patterns that name matches.
func (k *kernelIndex) match(name string, bits []uint64) {
	clear(bits)
	if name == "" {
		for n, p := range k.patterns {
			if p.match("") {
				bits[n/64] |= 1 << (n % 64)
			}
		}
		return
	}
	for _, list := range [...][]kernelMember{k.byFirst[name[0]], k.anyFirst} {
		for i := range list {
			m := &list[i]
			if bits[m.number/64]&(1<<(m.number%64)) == 0 && m.member.match(name, m.fold) {
				bits[m.number/64] |= 1 << (m.number % 64)
			}
		}
	}
}
