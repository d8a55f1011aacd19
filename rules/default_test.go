package rules

import "testing"

func TestTheEmbeddedRulesHaveNoProblem(t *testing.T) {
	set, problems := Parse([]Source{Embedded()})
	for _, p := range problems {
		t.Error(p.Error())
	}
	if len(set.Files) < 7 {
		t.Errorf("%d files are embedded", len(set.Files))
	}
}
