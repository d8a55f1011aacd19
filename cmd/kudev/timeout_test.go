package main

import (
	"testing"
	"time"
)

func TestTimeoutsAreSystemdsSpans(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"5": 5 * time.Second, "0": 0, "0.2": 200 * time.Millisecond, "1min": time.Minute, "1min 30s": 90 * time.Second, "1h30m": 90 * time.Minute,
		"500ms": 500 * time.Millisecond, "2 days": 48 * time.Hour, " 3 ": 3 * time.Second, "1.5h": 90 * time.Minute,
	} {
		var got timeout
		if err := got.Set(text); err != nil || got.d != want || !got.set || got.forever {
			t.Errorf("%q: %v, %v, want %v", text, got.d, err, want)
		}
	}
	for _, text := range []string{"", "-1", "x", "5x", "min", "1..2", "1e3", "99999999999999999w", "5 s x"} {
		var got timeout
		if err := got.Set(text); err == nil || got.set {
			t.Errorf("%q is taken as %v", text, got.d)
		}
	}
	var forever timeout
	if err := forever.Set("infinity"); err != nil || forever.micros() >= 0 {
		t.Errorf("infinity: %v, %v", forever.micros(), err)
	}
}
