package wire

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

func TestFramesComeOutAsTheyWentIn(t *testing.T) {
	var line bytes.Buffer
	want := []string{"", "a line\n", "7 o 3\nabc", string(make([]byte, 70_000))}
	for i, data := range want {
		if err := Write(&line, uint32(i), Output, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	r := bufio.NewReader(&line)
	for i, data := range want {
		id, kind, got, err := Read(r)
		if err != nil || id != uint32(i) || kind != Output || string(got) != data {
			t.Fatalf("frame %d: got %d %c, %d bytes, %v", i, id, kind, len(got), err)
		}
	}
}

func TestABadHeadIsAnErrorThatShowsIt(t *testing.T) {
	for _, head := range []string{"[    0.000000] Linux\n", "1 o -4\n", "1 o 99999999\n", "\n"} {
		if _, _, _, err := Read(bufio.NewReader(strings.NewReader(head))); err == nil {
			t.Errorf("%q was taken for a frame's head", head)
		}
	}
}
