package vm

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestTreeWritesParentsBeforeWhatIsInThem(t *testing.T) {
	host := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(host, []byte("abcde"), 0o600); err != nil {
		t.Fatal(err)
	}
	tree := NewTree()
	tree.Copy("/a/b/file", host, 0o755)
	tree.Symlink("a/link", "b/file")
	var out bytes.Buffer
	if err := tree.Write(&out); err != nil {
		t.Fatal(err)
	}
	type member struct{ name, content, mode string }
	var got []member
	for b := out.Bytes(); ; {
		if string(b[:6]) != "070701" {
			t.Fatalf("not a head: %q", b[:6])
		}
		var size, name int
		parse := func(at int) (n int) {
			for _, c := range b[at : at+8] {
				n = n<<4 | bytes.IndexByte([]byte("0123456789ABCDEF"), c)
			}
			return n
		}
		size, name = parse(6+6*8), parse(6+11*8)
		m := member{name: string(b[110 : 110+name-1]), mode: string(b[14:22])}
		at := (110 + name + 3) &^ 3
		m.content = string(b[at : at+size])
		b = b[(at+size+3)&^3:]
		if m.name == "TRAILER!!!" {
			break
		}
		got = append(got, m)
	}
	want := []member{{"a", "", "000041ED"}, {"a/b", "", "000041ED"}, {"a/b/file", "abcde", "000081ED"}, {"a/link", "b/file", "0000A1FF"}}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("member %d: got %v, want %v", i, got[i], want[i])
		}
	}
}

func TestConsoleLosesItsEscapes(t *testing.T) {
	if got := withoutEscapes("\x1bc\x1b[?7l\x1b[2JSeaBIOS\r\n\x1b[0;1mBooting"); got != "SeaBIOS\nBooting" {
		t.Errorf("got %q", got)
	}
}

func TestPrunedKeepsTheExceptions(t *testing.T) {
	for name, want := range map[string]bool{
		"drivers/media/rc/rc-core.ko": true, "drivers/media/mc/mc.ko": false, "drivers/net/ethernet/intel/ice/ice.ko": true,
		"drivers/net/ethernet/intel/e1000e/e1000e.ko": false, "drivers/net/virtio_net.ko": false, "fs/nfs_common/grace.ko": false,
	} {
		if got := isPruned(name); got != want {
			t.Errorf("%s: pruned %v, want %v", name, got, want)
		}
	}
}
