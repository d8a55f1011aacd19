package rules

// Trace records what rules decided for one event: for kudev test and kudev explain. The zero value is ready; it serves
// one evaluation.
type Trace struct {
	// All records the lines that did not match, too, each with the key that it stopped at. Every line is then tried,
	// those included that the program's index leaves out.
	All   bool
	Steps []Step
}

// Step is what happened at one line.
type Step struct {
	Rule    *Rule
	Matched bool
	Key     string   // the key that the line stopped at, as written; "" when it matched
	Got     string   // what that key was compared with
	Did     []string // what the line did, substitutions resolved: ENV{ID_BUS}="usb"
	Notes   []string // what went wrong on the way, or was left out
	Goto    string   // the label that the line jumped to
}

func (s *state) traceBegin(r *Rule) {
	s.step = Step{Rule: r}
}

func (s *state) traceEnd(matched bool, key *token) {
	s.step.Matched = matched
	if matched {
		if s.step.Rule.target >= 0 {
			s.step.Goto = s.step.Rule.Goto
		}
	} else {
		if !s.trace.All && len(s.step.Did) == 0 && len(s.step.Notes) == 0 {
			return
		}
		if key != nil {
			s.step.Key = key.source
			s.step.Got = s.got
		}
	}
	s.trace.Steps = append(s.trace.Steps, s.step)
}

// did records an effect of the line, when there is a trace.
//
//go:noinline // once in the program, not in each of its many callers
func (s *state) did(key, operator, value string) {
	if s.trace != nil {
		s.step.Did = append(s.step.Did, key+operator+`"`+value+`"`)
	}
}
