//go:build system

package blkid

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// packages hold the programs that make images, the libraries that they need, and the peer.
var packages = []string{"util-linux", "libblkid1", "libsmartcols1", "libuuid1", "fdisk", "libfdisk1", "e2fsprogs", "libext2fs2", "libcom-err2",
	"libss2", "xfsprogs", "libinih1", "liburcu8", "btrfs-progs", "dosfstools", "f2fs-tools", "ntfs-3g", "libntfs-3g89", "exfatprogs",
	"squashfs-tools", "liblzo2-2", "libzstd1", "liblz4-1", "genisoimage", "cryptsetup-bin", "libcryptsetup12", "libdevmapper1.02.1",
	"libpopt0", "libjson-c5", "libargon2-1", "lvm2", "libaio1", "libdevmapper-event1.02.1", "libedit2", "libbsd0", "libmd0", "mdadm",
	"udftools", "erofs-utils", "makefs", "genromfs", "apfsprogs", "bcache-tools", "gfs2-utils", "libncurses6", "libtinfo6", "libbz2-1.0", "nilfs-tools", "jfsutils", "reiserfsprogs", "libudev1"}

// environment fetches the packages and returns PATH and LD_LIBRARY_PATH for them.
func environment(t *testing.T) []string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	script := filepath.Join(filepath.Dir(file), "../../../testdata/debian/fetch")
	want := packages
	out, err := exec.Command("sh", append([]string{script}, want...)...).Output()
	if err != nil {
		t.Fatalf("sh testdata/debian/fetch %s: %v", strings.Join(want, " "), err)
	}
	cache := strings.TrimSpace(string(out))
	var path, lib []string
	for _, p := range want {
		for _, d := range []string{"sbin", "bin", "usr/sbin", "usr/bin"} {
			path = append(path, filepath.Join(cache, p, d))
		}
		for _, d := range []string{"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"} {
			lib = append(lib, filepath.Join(cache, p, d))
		}
	}
	return append(os.Environ(), "PATH="+strings.Join(path, ":")+":"+os.Getenv("PATH"), "LD_LIBRARY_PATH="+strings.Join(lib, ":"))
}

// images are made by these commands, on a sparse file $img in a directory of its own.
var images = []struct{ name, size, command string }{
	{"empty", "32M", ":"},
	{"ext2", "32M", "mkfs.ext2 -q -F -L 'my label' $img"},
	{"ext3", "32M", "mkfs.ext3 -q -F -L ümlaut $img"},
	{"ext4", "64M", "mkfs.ext4 -q -F -L root $img"},
	{"a name with much in it", "64M", `mkfs.ext4 -q -F -L ' a  b/"\x é ' $img`},
	{"ext4 of 4 KiB blocks", "64M", "mkfs.ext4 -q -F -b 4096 $img"},
	{"ext journal", "32M", "mke2fs -q -F -O journal_dev $img"},
	{"xfs", "400M", "mkfs.xfs -q -f -L data $img"},
	{"btrfs", "128M", "mkfs.btrfs -q -f -L pool $img"},
	{"FAT12", "2M", "mkfs.vfat -F 12 -n FLOPPY $img"},
	{"FAT12 floppy", "1440K", "mkfs.vfat -F 12 -n FLOPPY $img"},
	{"FAT16", "32M", "mkfs.vfat -F 16 -n 'A B' $img"},
	{"FAT32", "64M", "mkfs.vfat -F 32 -n ESP $img"},
	{"FAT32 without a name", "64M", "mkfs.vfat -F 32 $img"},
	{"exfat", "64M", "mkfs.exfat -L stick $img"},
	{"ntfs", "32M", "mkntfs -q -F -f -L Windows $img"},
	{"swap", "16M", "mkswap -q -L swap $img"},
	{"swap of 64 KiB pages", "16M", "mkswap -q -p 65536 $img"},
	{"LUKS1", "16M", "echo secret | cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 $img -"},
	{"LUKS2", "32M", "echo secret | cryptsetup -q luksFormat --type luks2 --label vault --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $img -"},
	{"LVM", "16M", `python3 - "$img" <<'PY'
import sys, struct, zlib
img = sys.argv[1]
body = struct.pack('<I8s32s', 32, b'LVM2 001', b'abcdefGHIJklmnOPQRstuvWXYZ012345') .ljust(492, b'\0')
crc = (zlib.crc32(body, 0xf597a6cf ^ 0xffffffff) ^ 0xffffffff) & 0xffffffff
with open(img, 'r+b') as f:
    f.seek(512); f.write(struct.pack('<8sQI', b'LABELONE', 1, crc) + body)
PY`},
	{"squashfs", "0", "mkdir d && echo hello >d/f && rm -f $img && mksquashfs d $img -quiet -no-progress"},
	{"iso9660", "0", "mkdir d && echo hello >d/f && genisoimage -quiet -V 'A DISC' -publisher me -o $img d"},
	{"iso9660 with Joliet", "0", "mkdir d && echo hello >d/f && genisoimage -quiet -J -r -V 'Joliet Disc' -o $img d"},
	{"iso9660 and udf", "0", "mkdir d && echo hello >d/f && genisoimage -quiet -udf -V BRIDGE -o $img d"},
	{"udf", "32M", "mkudffs -q -l 'UDF name' $img || mkudffs -l 'UDF name' $img"},
	{"udf of 512", "32M", "mkudffs -b 512 -l small $img"},
	{"f2fs", "64M", "mkfs.f2fs -q -l flash $img"},
	{"erofs", "0", "mkdir d && echo hello >d/f && rm -f $img && mkfs.erofs --quiet $img d"},
	{"nilfs2", "160M", "mkfs.nilfs2 -q -f -L log $img"},
	{"jfs", "32M", "mkfs.jfs -q -L journal $img"},
	{"reiserfs", "64M", "mkfs.reiserfs -q -ff -l reiser $img"},
	{"minix", "2M", "mkfs.minix $img"},
	{"minix 2", "2M", "mkfs.minix -2 $img"},
	{"minix 3", "2M", "mkfs.minix -3 $img"},
	{"bfs", "2M", "mkfs.bfs $img"},
	{"cramfs", "0", "mkdir d && echo hello >d/f && mkfs.cramfs -n compact d $img"},
	{"romfs", "0", "mkdir d && echo hello >d/f && genromfs -f $img -d d -V 'rom disk'"},
	{"UFS of FreeBSD", "0", "mkdir d && echo hello >d/f && makefs -t ffs -s 2m -o version=1 $img d"},
	{"UFS2 of FreeBSD", "0", "mkdir d && echo hello >d/f && makefs -t ffs -s 2m -o version=2 $img d"},
	{"UFS of FreeBSD, big-endian", "0", "mkdir d && echo hello >d/f && makefs -t ffs -s 2m -B be $img d"},
	{"apfs", "1G", "mkapfs $img"},
	{"bcache", "64M", "make-bcache -B $img"},
	{"gfs2", "64M", "mkfs.gfs2 -q -O -p lock_nolock -j 1 -J 8 $img"},
	{"two file systems", "128M", "mkfs.ext4 -q -F $img && truncate -s 128M x && mkfs.btrfs -q -f x && dd if=x of=$img bs=64K skip=1 seek=1 count=1 conv=notrunc status=none"},
	{"DOS table", "64M", `printf 'label: dos\n,8M,L\n,8M,S\n,,E\n,4M,L\n,4M,L\n' | sfdisk -q $img`},
	{"GPT", "64M", `printf 'label: gpt\nname="EFI system",size=8M,type=U\nsize=8M,type=L,name=rööt\n' | sfdisk -q $img`},
	{"GPT with a damaged start", "64M", `printf 'label: gpt\nsize=8M\n' | sfdisk -q $img && dd if=/dev/zero of=$img bs=512 seek=1 count=1 conv=notrunc status=none`},
	{"GPT that is gone", "64M", `printf 'label: gpt\nsize=8M\n' | sfdisk -q $img && dd if=/dev/zero of=$img bs=512 seek=1 count=1 conv=notrunc status=none && truncate -s 65M $img`},
	{"ext4 behind a table", "64M", `mkfs.ext4 -q -F $img && printf 'label: dos\n,8M,L\n' | sfdisk -q --wipe never $img`},
	{"SGI", "64M", `printf 'label: sgi\n' | sfdisk -q $img`},
	{"Sun", "64M", `printf 'label: sun\n' | sfdisk -q $img`},
	{"verity", "4M", "dd if=/dev/urandom of=data bs=1M count=1 status=none && veritysetup format data $img >/dev/null"},
	{"integrity", "16M", `printf 'integrt\000\001' | dd of=$img conv=notrunc status=none`},
	{"snapshot", "16M", `printf SnAp | dd of=$img conv=notrunc status=none`},
}

func TestSameAsLibblkid(t *testing.T) {
	env := environment(t)
	for _, image := range images {
		t.Run(image.name, func(t *testing.T) {
			dir := t.TempDir()
			make := exec.Command("sh", "-ec", "truncate -s "+image.size+" img; img=img; "+image.command)
			make.Dir, make.Env = dir, env
			if out, err := make.CombinedOutput(); err != nil {
				t.Fatalf("make the image: %v\n%s", err, out)
			}
			compare(t, env, filepath.Join(dir, "img"))
		})
	}
	for _, image := range handmade {
		t.Run(image.name, func(t *testing.T) {
			img := filepath.Join(t.TempDir(), "img")
			f, err := os.Create(img)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			err = f.Truncate(image.size)
			for at, b := range image.device().at {
				if _, werr := f.WriteAt(b, at); werr != nil {
					err = werr
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			compare(t, env, img)
		})
	}
}

// compare holds what Probe finds to what Debian's blkid finds.
func compare(t *testing.T, env []string, img string) {
	t.Helper()
	want := peer(t, env, "export", img)
	udev := peer(t, env, "udev", img)
	f, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, _ := f.Stat()
	values, err := Probe(f, st.Size(), Options{File: true})
	if err != nil != strings.Contains(strings.Join(udev, "\n"), "ID_FS_AMBIVALENT=") {
		t.Errorf("%v; blkid says %q", err, udev)
	}
	var got []string
	for _, v := range values {
		got = append(got, v.Key+"="+v.Value)
		if v.Key == "LABEL" || v.Key == "UUID" {
			for _, p := range []string{"ID_FS_" + v.Key + "=" + Safe(v.Value), "ID_FS_" + v.Key + "_ENC=" + Encode(v.Value)} {
				if !slices.Contains(udev, p) {
					t.Errorf("%s is not among %q", p, udev)
				}
			}
		}
	}
	// blkid writes what is not ASCII in a way of its own here.
	foreign := func(s string) bool { return strings.HasPrefix(s, "LABEL") && strings.ContainsAny(s, "äéüM\\\"") }
	want, got = slices.DeleteFunc(want, foreign), slices.DeleteFunc(got, foreign)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-libblkid +kudev):\n%s", diff)
	}
	comparePartitions(t, env, f, st.Size())
}

// comparePartitions holds the partitions to those that Debian's partx finds by libblkid.
func comparePartitions(t *testing.T, env []string, f *os.File, size int64) {
	t.Helper()
	table, err := ReadTable(f, size, 512)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if table != nil {
		for _, p := range table.Partitions {
			flags := "0x0"
			if p.Flags != 0 {
				flags = fmt.Sprintf("%#x", p.Flags)
			}
			// partx writes what is not ASCII as its bytes.
			name := strings.ReplaceAll(strconv.QuoteToASCII(p.Name), `\u00f6`, `\xc3\xb6`)
			got = append(got, fmt.Sprintf("NR=%q START=%q SECTORS=%q SCHEME=%q TYPE=%q UUID=%q FLAGS=%q NAME=%s", fmt.Sprint(p.Number),
				fmt.Sprint(p.Start), fmt.Sprint(p.Size), p.Scheme, p.Type, p.UUID, flags, name))
		}
	}
	cmd := exec.Command("partx", "--pairs", "--output", "NR,START,SECTORS,SCHEME,TYPE,UUID,FLAGS,NAME", f.Name())
	cmd.Env = env
	cmd.Path, _ = lookPath("partx", env)
	out, _ := cmd.Output() // a device without a table is a failure to it
	if diff := cmp.Diff(strings.TrimSuffix(string(out), "\n"), strings.Join(got, "\n")); diff != "" {
		t.Errorf("partitions (-libblkid +kudev):\n%s", diff)
	}
}

// peer runs Debian's blkid and returns its lines.
func peer(t *testing.T, env []string, format, img string) (lines []string) {
	t.Helper()
	cmd := exec.Command("blkid", "-p", "-o", format, img)
	cmd.Env = env
	cmd.Path, _ = lookPath("blkid", env)
	out, _ := cmd.Output() // finding nothing is a failure to it
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\n")
		if line != "" && !strings.HasPrefix(line, "DEVNAME=") {
			if format == "export" {
				line = strings.ReplaceAll(line, `\`, "")
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func lookPath(name string, env []string) (string, error) {
	for _, e := range env {
		if path, ok := strings.CutPrefix(e, "PATH="); ok && strings.Contains(path, "debian") {
			for _, dir := range strings.Split(path, ":") {
				if p := filepath.Join(dir, name); isProgram(p) {
					return p, nil
				}
			}
		}
	}
	return exec.LookPath(name)
}

func isProgram(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}
