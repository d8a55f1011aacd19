package hotplug

import (
	"encoding/binary"
	"testing"
)

func TestHashesAreLibudevs(t *testing.T) {
	if h := Murmur2("mem"); h != 0xc365cd83 {
		t.Errorf("mem is %08x", h)
	}
}

func TestFrameIsReadBack(t *testing.T) {
	pairs := []Pair{{"ACTION", "add"}, {"DEVPATH", "/devices/virtual/mem/null"}, {"SUBSYSTEM", "mem"}, {"SEQNUM", "9"}, {"TAGS", ":a:b:"}, {"X", "a=b c"}}
	b := AppendFrame([]byte("before"), pairs)[len("before"):]
	e, err := ParseEvent(b)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for key, value := range e.All() {
		if (Pair{key, value}) != pairs[i] {
			t.Errorf("property %d is %s=%s", i, key, value)
		}
		i++
	}
	if got := binary.BigEndian.Uint32(b[24:]); got != 0xc365cd83 {
		t.Errorf("subsystem's hash is %08x", got)
	}
	if got := uint64(binary.BigEndian.Uint32(b[32:]))<<32 | uint64(binary.BigEndian.Uint32(b[36:])); got != TagBloom("a")|TagBloom("b") {
		t.Errorf("bloom is %016x", got)
	}
	if got := binary.BigEndian.Uint32(b[28:]); got != 0 {
		t.Errorf("without a devtype its hash is %08x", got)
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	pairs := []Pair{{"ACTION", "add"}, {"DEVPATH", "/devices/pci0000:00/0000:00:04.0/virtio1/block/vda"}, {"SUBSYSTEM", "block"}, {"DEVTYPE", "disk"},
		{"SEQNUM", "9"}, {"TAGS", ":systemd:"}, {"DEVLINKS", "/dev/disk/by-id/virtio-1 /dev/disk/by-path/pci-0000:00:04.0"}}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendFrame(buf[:0], pairs)
	}
}
