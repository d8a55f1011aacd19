//go:build system

package modload

import (
	"os"
	"slices"
	"testing"
)

func TestWhatTheKernelSaidOfAnEarlierAttemptIsNoEvidence(t *testing.T) {
	log, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		t.Fatalf("%v: run the test as root: sudo -E go test -tags system ./modload", err)
	}
	defer log.Close()
	say := func(text string) {
		if _, err := log.WriteString("<7>" + text + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	k := NewKernel(resolve(t, Options{})).(evidencer)
	say("kd_evidence: Unknown symbol of_then (err -2)")
	end := k.Attend()
	say("kd_other: Unknown symbol of_another (err -2)")
	say("kd_evidence: Unknown symbol of_now (err -2)")
	if got, want := end("kd_evidence").Log, []string{"Unknown symbol of_now (err -2)"}; !slices.Equal(got, want) {
		t.Errorf("evidence is %q, want %q", got, want)
	}
	if got := k.Attend()("kd_evidence").Log; len(got) != 0 {
		t.Errorf("of nothing said: %q", got)
	}
}
