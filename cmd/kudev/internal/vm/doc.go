// Package vm boots a distribution's kernel in QEMU with an initramfs that is built on the spot, for tests and for the
// demonstration.
//
// The kernel and its modules are Debian's, unpacked into a cache by testdata/debian/fetch; nothing has to be installed
// but QEMU. A guest is described by values: a [Machine] is a list of QEMU devices, and what the guest's root holds is a
// [Tree]. Its initramfs is two cpio archives, one after the other: the base, which is large, the same for everybody and
// kept in the cache (busybox, and the modules less the big families that no QEMU device needs), and a small one of its own.
//
//	debian, err := vm.OpenDebian()
//	root := vm.NewTree()
//	root.Copy("/bin/kudev", kudev, 0o755)
//	guest, err := vm.Boot(ctx, vm.Options{Debian: debian, Machine: vm.Demo(), Root: root})
//	defer guest.Close()
//	out, err := guest.Run(ctx, vm.Command{Args: []string{"kudev", "coldplug"}})
//
// PID 1 in the guest is the agent of this package (folder agent). It mounts what has to be mounted and then does what
// the host tells it over the second serial port, in the frames of package wire: start a program, stream its output, say
// when it is ready and how it ended. The first serial port is the kernel's console; its last lines explain a failure.
// Neither needs a module, so the machine can be watched from before the first one is loaded.
package vm
