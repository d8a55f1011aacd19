//go:build system

package vm_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kudev/kudev/cmd/kudev/internal/vm"
	"github.com/kudev/kudev/cmd/kudev/internal/vm/vmtest"
)

// writeTables writes one partition table after another to a whole disk. Each time that the node is closed the kernel has
// to read the new one, unless somebody holds a lock on the disk: then at the next closing.
const writeTables = `
	disk=/dev/disk/by-id/virtio-TABLES
	for i in $(seq 100); do [ -b $disk ] && break; sleep 0.1; done
	name=$(basename $(readlink -f $disk)); sys=/sys/block/$name
	state() { # partitions as the kernel has them, when they are as many as are wanted or stay as they are
		for i in $(seq 100); do [ "$(ls -d $sys/$name* 2>/dev/null | wc -l)" = $2 ] && break; sleep 0.1; done
		udevadm settle
		echo "$1:"
		for p in $sys/$name*; do [ -e $p ] && echo "${p##*/} $(cat $p/start) $(cat $p/size) $(stat -c %t:%T /dev/${p##*/})"; done
		ls /dev/disk/by-partuuid 2>/dev/null
		for l in /dev/disk/by-partuuid/*; do [ -L $l ] && readlink $l; done
		return 0
	}
	state empty 0
	dd if=/tables/one of=$disk conv=notrunc 2>/dev/null; state one 1
	dd if=/tables/two of=$disk conv=notrunc 2>/dev/null; state two 2
	udevadm lock --device=$disk sh -c "dd if=/tables/one of=$disk conv=notrunc 2>/dev/null; sleep 1; ls -d $sys/$name*"; state unlocked 2
	: >>$disk; state 'opened and closed' 1
	dd if=/tables/none of=$disk conv=notrunc 2>/dev/null; state none 0
`

// The partitions of a disk follow what is written to it, with kudev as with systemd-udevd.
func TestAPartitionTableIsReadWhenItHasBeenWritten(t *testing.T) {
	root := vm.NewTree()
	vmtest.Kudev(t, root)
	if err := vmtest.Debian(t).AddUdevd(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	one := fields(512, 440, uint32(0xcafe1234), 446+4, uint8(0x83), 446+8, uint32(2048), 446+12, uint32(2048), 510, uint16(0xaa55))
	two := append([]byte(nil), one...)
	copy(two[462:478], one[446:462])
	two[462+9] = 0x20 // from sector 8192 on
	for name, table := range map[string][]byte{"one": one, "two": two, "none": make([]byte, 512)} {
		root.File("/tables/"+name, string(table), 0o644)
	}
	file := filepath.Join(t.TempDir(), "disk")
	blank(t, file, 16<<20)
	machine := vm.Bare()
	machine.Drives = append(machine.Drives, vm.Drive{ID: "tables", File: file})
	machine.Devices = append(machine.Devices, vm.Device{Driver: "virtio-blk-pci", Props: "drive=tables,serial=TABLES"})
	g := vmtest.Boot(t, vm.Options{Machine: machine, Root: root})
	g.Sh(prepare + "systemd-udevd --daemon; " + pass)
	theirs := g.Sh(writeTables)
	g.Sh("udevadm control --exit; /init wipe")
	daemon := g.Spawn(vm.Command{Args: []string{"kudev", "daemon", "--ready-fd", "3", "--coldplug"}, Ready: true})
	if _, err := daemon.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	ours := g.Sh(writeTables)
	t.Logf("with kudev:\n%s", ours)
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("(-systemd-udevd +kudev):\n%s", diff)
	}
}
