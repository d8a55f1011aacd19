package modload

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kudev/kudev/modload/modloadtest"
)

func TestModuleIsReadInEveryByteOrderWordSizeAndCompression(t *testing.T) {
	for _, big := range []bool{false, true} {
		for _, narrow := range []bool{false, true} {
			for _, ext := range []string{".ko", ".ko.gz", ".ko.zst"} {
				t.Run(fmt.Sprintf("big=%t/narrow=%t/%s", big, narrow, ext), func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "a-b"+ext)
					if err := modloadtest.WriteModule(path, modloadtest.Module{
						Info:      []string{"alias=pci:v*", "softdep=pre: c", "alias=x-y", "flag"},
						Exports:   []string{"ab_one", "ab_two"},
						Needs:     []string{"printk", "c_open"},
						Weak:      []string{"maybe"},
						BigEndian: big, Bits32: narrow,
					}); err != nil {
						t.Fatal(err)
					}
					m, err := OpenModule(path)
					if err != nil {
						t.Fatal(err)
					}
					defer m.Close()
					info, err := m.Info()
					if err != nil {
						t.Fatal(err)
					}
					var lines []string
					for k, v := range info.All() {
						lines = append(lines, k+"="+v)
					}
					want := []string{"alias=pci:v*", "softdep=pre: c", "alias=x-y", "flag=", "name=a_b", "vermagic=" + modloadtest.Vermagic}
					if d := cmp.Diff(want, lines); d != "" {
						t.Error(d)
					}
					exports, err := m.Exports()
					crc := func(s string) uint64 { return uint64(modloadtest.CRC(s)) }
					if d := cmp.Diff([]Symbol{{Name: "ab_one", CRC: crc("ab_one")}, {Name: "ab_two", CRC: crc("ab_two")}}, exports); d != "" || err != nil {
						t.Error(d, err)
					}
					needs, err := m.Needs()
					if d := cmp.Diff([]Symbol{
						{Name: "printk", CRC: crc("printk")}, {Name: "c_open", CRC: crc("c_open")},
						{Name: "maybe", Weak: true}, {Name: "module_layout", CRC: crc("module_layout")},
					}, needs); d != "" || err != nil {
						t.Error(d, err)
					}
				})
			}
		}
	}
}

func TestExportsWithoutVersionsComeFromTheNameTable(t *testing.T) {
	m, err := ParseModule(modloadtest.Module{Name: "a", Exports: []string{"x", "y"}, NoCRC: true}.Image())
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Exports()
	if d := cmp.Diff([]Symbol{{Name: "x"}, {Name: "y"}}, got); d != "" || err != nil {
		t.Error(d, err)
	}
}

func TestSignatureOfTheOldLayout(t *testing.T) {
	m, err := ParseModule(modloadtest.Module{Name: "a", Signer: "Build key"}.Image())
	if err != nil {
		t.Fatal(err)
	}
	s, ok := m.Signature()
	if !ok || s.Signer != "Build key" || s.Hash != "sha256" || s.Type != "X509" || !bytes.Equal(s.Key, []byte{0xde, 0xad, 0xbe, 0xef}) {
		t.Errorf("got %+v, %t", s, ok)
	}
}

func TestDamagedModulesAreRefused(t *testing.T) {
	whole := modloadtest.Module{Name: "a", Exports: []string{"x"}, Needs: []string{"y"}}.Image()
	for _, c := range []struct {
		name  string
		image []byte
	}{
		{"empty", nil},
		{"text", []byte("this is not a module, but long enough to be taken for one by its length alone\n")},
		{"header only", whole[:64]},
		{"cut in the section table", whole[:len(whole)-10]},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.ko")
			if err := os.WriteFile(path, c.image, 0o644); err != nil {
				t.Fatal(err)
			}
			if m, err := OpenModule(path); err == nil {
				m.Close()
				t.Error("accepted")
			}
		})
	}
}

func TestDecompressionIsBounded(t *testing.T) {
	dir := t.TempDir()
	for _, ext := range []string{".ko.gz", ".ko.zst"} {
		path := filepath.Join(dir, "a"+ext)
		if err := modloadtest.WriteModule(path, modloadtest.Module{Info: []string{"pad=" + string(bytes.Repeat([]byte{'x'}, 1<<20))}}); err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if image, err := decompress(file, detectCompression(file), 1<<16); err == nil {
			t.Errorf("%s: got %d bytes under a limit of %d", ext, len(image), 1<<16)
		}
	}
}

func FuzzModule(f *testing.F) {
	for _, m := range []modloadtest.Module{
		{Name: "a", Info: []string{"alias=b"}, Exports: []string{"x"}, Needs: []string{"y"}, Weak: []string{"z"}},
		{Name: "a", Exports: []string{"x"}, Needs: []string{"y"}, Bits32: true, BigEndian: true, Signer: "me"},
		{Name: "a", Exports: []string{"x"}, NoCRC: true},
	} {
		f.Add(m.Image())
	}
	f.Fuzz(func(t *testing.T, image []byte) {
		m, err := ParseModule(image)
		if err != nil {
			return
		}
		if info, err := m.Info(); err == nil {
			for range info.All() {
			}
		}
		m.Exports()
		m.Needs()
		m.Versions()
		m.Signature()
	})
}

func FuzzDecompress(f *testing.F) {
	dir := f.TempDir()
	for _, ext := range []string{".ko.gz", ".ko.zst"} {
		path := filepath.Join(dir, "a"+ext)
		if err := modloadtest.WriteModule(path, modloadtest.Module{}); err != nil {
			f.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3"))
	f.Fuzz(func(t *testing.T, file []byte) {
		const limit = 1 << 20
		if image, err := decompress(file, detectCompression(file), limit); err == nil && detectCompression(file) != Uncompressed && len(image) > limit {
			t.Fatalf("%d bytes under a limit of %d", len(image), limit)
		}
	})
}
