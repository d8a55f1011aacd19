package modload

import (
	"slices"
	"testing"
)

func TestOptionsInTheEnvironmentStayTheWordsTheyAre(t *testing.T) {
	t.Setenv("MODPROBE_OPTIONS", `-q -C '/etc/my "own" conf' --config="/it's"`)
	words := append(EnvironmentOptions(), "-C", "/a b", "")
	want := []string{"-q", "-C", `/etc/my "own" conf`, "--config=/it's", "-C", "/a b", ""}
	if !slices.Equal(words, want) {
		t.Fatalf("%q", words)
	}
	variable := WithEnvironmentOptions("-C", "/a b", "")
	t.Setenv("MODPROBE_OPTIONS", variable[len("MODPROBE_OPTIONS="):])
	if got := EnvironmentOptions(); !slices.Equal(got, want) {
		t.Errorf("%s is read as %q", variable, got)
	}
}
