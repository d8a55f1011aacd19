//go:build system

package vm_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kudev/kudev/cmd/kudev/internal/vm"
)

// contents returns the demonstration's machine with disks that hold something: file systems, swap, LUKS, LVM, RAID and partitions.
func contents(t testing.TB) vm.Machine {
	m := vm.Demo()
	m.Devices = append(m.Devices, vm.Device{Driver: "virtio-scsi-pci", ID: "full"})
	dir := t.TempDir()
	for i, d := range []struct {
		name string
		make func(t testing.TB, file string)
	}{
		{"ext4", mkfs(64<<20, "mkfs.ext4", "-q", "-F", "-L", "an ext4", "-U", "9d3c3a0e-0f3f-4a5e-8f0a-0123456789ab")},
		{"xfs", mkfs(300<<20, "mkfs.xfs", "-q", "-L", "an_xfs", "-m", "uuid=11111111-2222-3333-4444-555555555555")},
		{"btrfs", mkfs(128<<20, "mkfs.btrfs", "-q", "-L", "a btrfs", "-U", "21111111-2222-3333-4444-555555555555")},
		{"vfat", mkfs(64<<20, "mkfs.vfat", "-n", "A VFAT", "-i", "ABCD1234")},
		{"swap", mkfs(16<<20, "mkswap", "-L", "a swap", "-U", "31111111-2222-3333-4444-555555555555")},
		{"luks1", luks1},
		{"luks2", luks2},
		{"lvm", lvm},
		{"raid", raid},
		{"gpt", gpt(1)},
		{"mbr", mbr},
	} {
		file := filepath.Join(dir, d.name)
		d.make(t, file)
		m.Drives = append(m.Drives, vm.Drive{ID: "full" + d.name, File: file})
		m.Devices = append(m.Devices, vm.Device{Driver: "scsi-hd", Props: fmt.Sprintf("drive=full%s,bus=full.0,scsi-id=%d,serial=FULL-%s", d.name, i, d.name)})
	}
	return m
}

func mkfs(size int64, program string, args ...string) func(testing.TB, string) {
	return func(t testing.TB, file string) {
		blank(t, file, size)
		if out, err := exec.Command(program, append(args, file)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: run `make packages`\n%s", program, err, out)
		}
	}
}

func blank(t testing.TB, file string, size int64) {
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

// write makes a file of the size with these bytes at these offsets.
func write(t testing.TB, file string, size int64, at map[int64][]byte) {
	blank(t, file, size)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for offset, data := range at {
		if _, err := f.WriteAt(data, offset); err != nil {
			t.Fatal(err)
		}
	}
}

// fields lays out a structure: pairs of an offset and what lies there.
func fields(size int, pairs ...any) []byte {
	b := make([]byte, size)
	for i := 0; i < len(pairs); i += 2 {
		at := pairs[i].(int)
		switch v := pairs[i+1].(type) {
		case string:
			copy(b[at:], v)
		case []byte:
			copy(b[at:], v)
		case uint8:
			b[at] = v
		case uint16:
			binary.LittleEndian.PutUint16(b[at:], v)
		case uint32:
			binary.LittleEndian.PutUint32(b[at:], v)
		case uint64:
			binary.LittleEndian.PutUint64(b[at:], v)
		}
	}
	return b
}

// See the LUKS1 on-disk format, 2.1, "phdr". All numbers are big-endian.
func luks1(t testing.TB, file string) {
	head := fields(592, 0, "LUKS\xba\xbe\x00\x01", 8, "aes", 40, "xts-plain64", 72, "sha256", 168, "41111111-2222-3333-4444-555555555555")
	write(t, file, 16<<20, map[int64][]byte{0: head})
}

// See the LUKS2 on-disk format, 2.1, "binary header".
func luks2(t testing.TB, file string) {
	head := fields(4096, 0, "LUKS\xba\xbe\x00\x02", 24, "a luks", 72, "sha256", 168, "51111111-2222-3333-4444-555555555555", 208, "a subsystem")
	binary.BigEndian.PutUint64(head[8:], 16384)
	write(t, file, 16<<20, map[int64][]byte{0: head})
}

// See lvm2, lib/format_text/layout.h and lib/label/label.c: the label is in the second sector, and its checksum begins behind itself.
func lvm(t testing.TB, file string) {
	label := fields(512, 0, "LABELONE", 8, uint64(1), 20, uint32(32), 24, "LVM2 001", 32, "abcdefGHIJklmnOPQRstuvWXYZ012345", 64, uint64(16<<20))
	binary.LittleEndian.PutUint32(label[16:], ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, label[20:]))
	write(t, file, 16<<20, map[int64][]byte{512: label})
}

// See md(4) and the kernel's include/uapi/linux/raid/md_p.h: version 1.2, 4 KiB from the start.
func raid(t testing.TB, file string) {
	super := fields(256+2*8, 0, uint32(0xa92b4efc), 4, uint32(1), 16, []byte("0123456789abcdef"), 32, "host:0", 72, uint32(1), 80, uint64(20480),
		92, uint32(2), 128, uint64(2048), 136, uint64(20480), 144, uint64(8), 160, uint32(0), 168, []byte("fedcba9876543210"), 220, uint32(8))
	sum := uint64(0)
	for i := 0; i < len(super); i += 4 {
		sum += uint64(binary.LittleEndian.Uint32(super[i:]))
	}
	binary.LittleEndian.PutUint32(super[216:], uint32(sum)+uint32(sum>>32))
	write(t, file, 16<<20, map[int64][]byte{4096: super})
}

// See the UEFI specification, 5.3. Two partitions, the first of which holds an ext4. Disks of different seeds have
// nothing in common by which a link is named.
func gpt(seed byte) func(testing.TB, string) {
	return func(t testing.TB, file string) { writeGPT(t, file, seed) }
}

func writeGPT(t testing.TB, file string, seed byte) {
	const sectors = 64 << 20 / 512
	guid := func(n byte) []byte { return []byte{n, seed, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} }
	linux := []byte{0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4}
	entries := make([]byte, 128*128)
	copy(entries, fields(128, 0, linux, 16, guid(1), 32, uint64(2048), 40, uint64(2048+65535), 56, "f\x00i\x00r\x00s\x00t\x00 \x00", 68, 'a'+seed))
	copy(entries[128:], fields(128, 0, linux, 16, guid(2), 32, uint64(69632), 40, uint64(90111), 48, uint64(1<<60)))
	head := func(here, other, table uint64) []byte {
		h := fields(512, 0, "EFI PART", 8, uint32(0x10000), 12, uint32(92), 24, here, 32, other, 40, uint64(34), 48, uint64(sectors-34), 56, guid(9), 72, table,
			80, uint32(128), 84, uint32(128), 88, crc32.ChecksumIEEE(entries))
		binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
		return h
	}
	first := filepath.Join(t.TempDir(), "first")
	mkfs(32<<20, "mkfs.ext4", "-q", "-F", "-L", fmt.Sprint("partition ", seed), "-U", fmt.Sprintf("61111111-2222-3333-4444-5555555555%02x", seed))(t, first)
	data, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	protective := fields(512, 446+4, uint8(0xee), 446+8, uint32(1), 446+12, uint32(sectors-1), 510, uint16(0xaa55))
	write(t, file, sectors*512, map[int64][]byte{
		0: protective, 512: head(1, sectors-1, 2), 1024: entries, 2048 * 512: data,
		(sectors - 33) * 512: entries, (sectors - 1) * 512: head(sectors-1, 1, sectors-33),
	})
}

// One primary partition, and a logical one in an extended one.
func mbr(t testing.TB, file string) {
	write(t, file, 32<<20, map[int64][]byte{
		0: fields(512, 440, uint32(0xcafe1234), 446, uint8(0x80), 446+4, uint8(0x83), 446+8, uint32(2048), 446+12, uint32(16384),
			462+4, uint8(0x05), 462+8, uint32(20480), 462+12, uint32(32768), 510, uint16(0xaa55)),
		20480 * 512: fields(512, 446+4, uint8(0x82), 446+8, uint32(2048), 446+12, uint32(8192), 510, uint16(0xaa55)),
	})
}
