// Package vm boots a distribution's kernel in QEMU with an initramfs that is built on the spot, for tests and for the
// demonstration.
package vm
