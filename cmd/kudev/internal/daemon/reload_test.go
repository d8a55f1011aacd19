package daemon

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// lastRules are what the rules did for the last event, once all are through.
func lastRules(t *testing.T, d *Daemon) string {
	t.Helper()
	a, err := d.Settle(t.Context(), WaitOptions{})
	must(t, err)
	must(t, a.Err())
	var did []string
	for _, e := range d.journal.After(0) {
		if e.Type == "event" {
			did = nil
			for _, r := range e.Rules {
				did = append(did, r.Did)
			}
		}
	}
	return strings.Join(did, " ")
}

func TestChangedRulesCountForTheVeryNextEvent(t *testing.T) {
	o, k, _ := small(t, "/devices/virtual/test/a subsystem=test\n", "")
	later := o.RulesDirs[0] + "/../later.d"
	o.RulesDirs = append(o.RulesDirs, later)
	d := run(t, o)
	defer d.journal.Watch(0).Close() // rules are written down for whoever watches
	for i := range 20 {
		dir := o.RulesDirs[0]
		if i > 10 { // one that was not there at the start
			must(t, os.RemoveAll(dir+"/10-test.rules"))
			must(t, os.MkdirAll(later, 0o755))
			dir = later
		}
		text := fmt.Sprintf(`SUBSYSTEM=="test", TAG+="t%d"`, i)
		must(t, os.WriteFile(dir+"/new.rules", []byte(text), 0o644))
		must(t, os.Rename(dir+"/new.rules", dir+"/10-test.rules"))
		k.send("change", "/devices/virtual/test/a", "test")
		if got := lastRules(t, d); !strings.Contains(got, fmt.Sprintf("t%d", i)) {
			t.Fatalf("change %d: %s", i, got)
		}
	}
}
