package blkid

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sparse is a device of which only some places are not zero.
type sparse struct {
	size int64
	at   map[int64][]byte
	bad  int64 // reads that reach this place fail, when it is not 0
}

var errBroken = errors.New("the medium is broken")

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), s.size-off))
	clear(p[:n])
	for at, b := range s.at {
		if from, to := max(at, off), min(at+int64(len(b)), off+int64(n)); from < to {
			copy(p[from-off:to-off], b[from-at:])
		}
	}
	if s.bad > 0 && off+int64(n) > s.bad {
		return int(max(s.bad-off, 0)), errBroken
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (s *sparse) put(at int64, b ...byte) *sparse {
	if s.at == nil {
		s.at = map[int64][]byte{}
	}
	s.at[at] = append([]byte(nil), b...)
	return s
}

const someUUID = "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"

func ext4(s *sparse) *sparse {
	b := make([]byte, 512)
	le.PutUint32(b[0x18:], 2)
	copy(b[0x38:], "\x53\xef")
	le.PutUint32(b[0x4c:], 1)
	le.PutUint32(b[0x5c:], 4)
	le.PutUint32(b[0x60:], 0x40)
	copy(b[0x68:], someUUID)
	copy(b[0x78:], "root fs")
	return s.put(1024, b...)
}

// gpt puts a table with one partition of 2 MiB at its usual place, and its copy at the end.
func gpt(s *sparse) *sparse {
	mbr := make([]byte, 512)
	mbr[446+4], mbr[446+8], mbr[446+12], mbr[510], mbr[511] = 0xee, 1, 0xff, 0x55, 0xaa
	entries := make([]byte, 128*128)
	copy(entries, "\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b"+someUUID)
	le.PutUint64(entries[32:], 2048)
	le.PutUint64(entries[40:], 6143)
	le.PutUint64(entries[48:], 1<<63)
	for i, c := range []rune("EFI öne") {
		le.PutUint16(entries[56+2*i:], uint16(c))
	}
	last := uint64(s.size)/512 - 1
	header := func(my, other, table uint64) []byte {
		h := make([]byte, 512)
		copy(h, "EFI PART\x00\x00\x01\x00")
		le.PutUint32(h[12:], 92)
		for i, v := range []uint64{my, other, 34, last - 33} {
			le.PutUint64(h[24+8*i:], v)
		}
		copy(h[56:], someUUID)
		le.PutUint64(h[72:], table)
		le.PutUint32(h[80:], 128)
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
		return h
	}
	return s.put(0, mbr...).put(512, header(1, last, 2)...).put(1024, entries...).
		put(int64(last-32)*512, entries...).put(int64(last)*512, header(last, 1, last-32)...)
}

func probeStrings(t testing.TB, s *sparse, opts Options) ([]string, error) {
	t.Helper()
	values, err := Probe(s, s.size, opts)
	var got []string
	for _, v := range values {
		got = append(got, v.Key+"="+v.Value)
	}
	return got, err
}

func TestFileSystem(t *testing.T) {
	got, err := probeStrings(t, ext4(&sparse{size: 64 << 20}), Options{WholeDisk: true})
	want := []string{"LABEL=root fs", "UUID=01020304-0506-0708-090a-0b0c0d0e0f10", "VERSION=1.0", "BLOCK_SIZE=4096", "TYPE=ext4", "USAGE=filesystem"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestNothing(t *testing.T) {
	for _, size := range []int64{0, 1, 511, 512, 1024, 4096, 1440 << 10, 64 << 20, 1 << 45} {
		if got, err := probeStrings(t, &sparse{size: size}, Options{WholeDisk: true}); len(got) > 0 || err != nil {
			t.Errorf("%d bytes of zeros: %q, %v", size, got, err)
		}
	}
}

func TestAmbivalentIsNone(t *testing.T) {
	b := make([]byte, 4096)
	copy(b[0x40:], "_BHRfS_M")
	s := ext4(&sparse{size: 64 << 20}).put(64<<10, b...)
	if got, err := probeStrings(t, s, Options{}); !errors.Is(err, ErrAmbivalent) || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRAIDHidesWhatLiesOnIt(t *testing.T) {
	b := make([]byte, 256)
	le.PutUint32(b, mdMagic)
	le.PutUint32(b[4:], 1)
	copy(b[16:], someUUID)
	copy(b[32:], "host:0")
	le.PutUint64(b[144:], 8)
	copy(b[168:], strings.Repeat("\x22", 16))
	s := gpt(ext4(&sparse{size: 64 << 20}))
	s = s.put(4096, b...)
	delete(s.at, 1024)
	got, err := probeStrings(t, s, Options{WholeDisk: true})
	want := []string{"UUID=01020304-0506-0708-090a-0b0c0d0e0f10", "UUID_SUB=22222222-2222-2222-2222-222222222222", "LABEL=host:0", "VERSION=1.2",
		"TYPE=linux_raid_member", "USAGE=raid"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, _ := probeStrings(t, s, Options{WholeDisk: true, NoRAID: true}); slices.Contains(got, "TYPE=linux_raid_member") {
		t.Errorf("--noraid: %q", got)
	}
}

func TestPartitionEntry(t *testing.T) {
	disk := gpt(&sparse{size: 64 << 20})
	if got, err := probeStrings(t, disk, Options{WholeDisk: true}); err != nil ||
		!slices.Equal(got, []string{"PTUUID=04030201-0605-0807-090a-0b0c0d0e0f10", "PTTYPE=gpt"}) {
		t.Errorf("disk: %q, %v", got, err)
	}
	delete(disk.at, 512) // the copy at the end takes over
	entry := &Entry{Disk: disk, DiskSize: disk.size, Major: 8, Start: 2048, Size: 4096}
	got, err := probeStrings(t, ext4(&sparse{size: 2 << 20}), Options{Entry: entry})
	want := []string{"LABEL=root fs", "UUID=01020304-0506-0708-090a-0b0c0d0e0f10", "VERSION=1.0", "BLOCK_SIZE=4096", "TYPE=ext4", "USAGE=filesystem",
		"PART_ENTRY_SCHEME=gpt", "PART_ENTRY_NAME=EFI öne", "PART_ENTRY_UUID=04030201-0605-0807-090a-0b0c0d0e0f10",
		"PART_ENTRY_TYPE=c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "PART_ENTRY_FLAGS=0x8000000000000000", "PART_ENTRY_NUMBER=1",
		"PART_ENTRY_OFFSET=2048", "PART_ENTRY_SIZE=4096", "PART_ENTRY_DISK=8:0"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// A DOS table: one primary partition, an extended one with two logical ones in a chain, and a chain that bites its tail.
func TestLogicalPartitions(t *testing.T) {
	record := func(entries ...dosEntry) []byte {
		b := make([]byte, 512)
		for i, e := range entries {
			p := b[446+16*i:]
			p[0], p[4] = e.boot, e.code
			le.PutUint32(p[8:], e.start)
			le.PutUint32(p[12:], e.size)
		}
		le.PutUint32(b[440:], 0x1234abcd)
		b[510], b[511] = 0x55, 0xaa
		return b
	}
	s := &sparse{size: 64 << 20}
	s.put(0, record(dosEntry{0x80, 0x83, 2048, 2048}, dosEntry{0, 5, 8192, 16384})...)
	s.put(8192*512, record(dosEntry{0, 0x83, 63, 1000}, dosEntry{0, 5, 4096, 4096})...)
	s.put((8192+4096)*512, record(dosEntry{0, 0x82, 63, 2000}, dosEntry{0, 5, 4096, 4096})...)
	table, err := ReadTable(s, s.size, 512)
	if err != nil || table == nil || table.Type != "dos" || table.ID != "1234abcd" {
		t.Fatalf("%+v, %v", table, err)
	}
	var got []string
	for _, p := range table.Partitions {
		got = append(got, fmt.Sprintf("%d %d+%d %s %s %#x", p.Number, p.Start, p.Size, p.Type, p.UUID, p.Flags))
	}
	want := []string{"1 2048+2048 0x83 1234abcd-01 0x80", "2 8192+16384 0x5 1234abcd-02 0x0", "5 8255+1000 0x83 1234abcd-05 0x0", "6 12351+2000 0x82 1234abcd-06 0x0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBrokenMediumIsAnError(t *testing.T) {
	s := ext4(&sparse{size: 64 << 20, bad: 2048})
	if got, err := probeStrings(t, s, Options{}); !errors.Is(err, errBroken) || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTruncatedImagesAreSurvived(t *testing.T) {
	full := gpt(ext4(&sparse{size: 1 << 20}))
	for size := int64(0); size < 70<<10; size += 509 {
		s := *full
		s.size = size
		_, _ = Probe(&s, s.size, Options{WholeDisk: true})
		_, _ = ReadTable(&s, s.size, 4096)
	}
}

func TestTexts(t *testing.T) {
	for _, c := range []struct{ in, safe, encoded string }{
		{"plain", "plain", "plain"},
		{"two  words ", "two_words", `two\x20\x20words\x20`},
		{"a/b", "a/b", `a\x2fb`},
		{"ünï", "ünï", "ünï"},
		{"bad\xff", "bad_", `bad\xff`},
		{`x\x20y`, `x\x20y`, `x\x5cx20y`},
		{"", "", ""},
	} {
		if got := Safe(c.in); got != c.safe {
			t.Errorf("Safe(%q) = %q, want %q", c.in, got, c.safe)
		}
		if got := Encode(c.in); got != c.encoded {
			t.Errorf("Encode(%q) = %q, want %q", c.in, got, c.encoded)
		}
	}
}

func FuzzProbe(f *testing.F) {
	flat := func(s *sparse, n int) []byte {
		b := make([]byte, n)
		_, _ = s.ReadAt(b, 0)
		return b
	}
	f.Add(flat(ext4(&sparse{size: 64 << 20}), 2048), int64(64<<20), uint8(1))
	f.Add(flat(gpt(&sparse{size: 1 << 20}), 4096), int64(1<<20), uint8(1))
	for _, k := range kinds {
		b := make([]byte, 72<<10)
		for _, m := range k.magics {
			if at := int(m.kb)<<10 + int(m.off); at+len(m.text) < len(b) {
				copy(b[at:], m.text)
				break
			}
		}
		f.Add(b, int64(128<<20), uint8(0))
	}
	for _, image := range handmade {
		for at, b := range image.device().at {
			if at+int64(len(b)) <= 72<<10 {
				f.Add(append(make([]byte, at), b...), image.size, uint8(2))
			} else {
				f.Add(append(b, make([]byte, min(image.size-at, 72<<10))...)[:min(image.size-at, 72<<10)], image.size, uint8(6))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, size int64, flags uint8) {
		if size < 0 || size > 1<<50 {
			return
		}
		s := (&sparse{size: size}).put(0, b...)
		if flags&4 != 0 && size > int64(len(b)) { // the end is as interesting as the beginning
			s = (&sparse{size: size}).put(size-int64(len(b)), b...)
		}
		values, err := Probe(s, size, Options{WholeDisk: flags&1 != 0, File: flags&2 != 0, SectorSize: 512 << (flags >> 6)})
		if err != nil && len(values) > 0 {
			t.Error("values beside an error")
		}
		for _, v := range values {
			Safe(v.Value)
			Encode(v.Value)
		}
		_, _ = ReadTable(s, size, 512<<(flags>>6))
	})
}

func BenchmarkProbe(b *testing.B) {
	for name, s := range map[string]*sparse{"ext4": ext4(&sparse{size: 64 << 20}), "gpt": gpt(&sparse{size: 64 << 20}), "nothing": {size: 64 << 20}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Probe(s, s.size, Options{WholeDisk: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
