package modload_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/modload/modloadtest"
)

// exampleRoot makes a root with a tree of two modules, as on a machine whose kernel is 6.1.0.
func exampleRoot() string {
	root, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	tree := filepath.Join(root, "lib/modules/6.1.0")
	for _, m := range []modloadtest.Module{
		{Name: "ptp", Exports: []string{"ptp_clock_register"}},
		{Name: "e1000e", Needs: []string{"ptp_clock_register"}, Info: []string{"alias=pci:v00008086d00001*sv*sd*bc*sc*i*"}},
	} {
		if err := modloadtest.WriteModule(filepath.Join(tree, "kernel", m.Name+".ko"), m); err != nil {
			log.Fatal(err)
		}
	}
	if err := modload.Depmod(context.Background(), modload.DepmodOptions{Dir: tree}); err != nil {
		log.Fatal(err)
	}
	return root
}

// Which modules does a device ask for? Here in a tree that is not the running kernel's: the flags name its root and its release.
func ExampleIndex_Match() {
	root := exampleRoot()
	defer os.RemoveAll(root)
	cfg, err := modload.Resolve(modload.Options{Flags: []modload.Flag{
		{Setting: "module_root", Value: root},
		{Setting: "release", Value: "6.1.0"},
	}})
	if err != nil {
		log.Fatal(err)
	}
	index, err := modload.Open(cfg)
	if err != nil {
		log.Fatal(err)
	}
	for m := range index.Match("pci:v00008086d000015B7sv0sd0bc02sc00i00") {
		entry, _ := index.Lookup(m.Module)
		fmt.Println(m.Module, "by", m.Pattern(), "needs", entry.Deps)
	}
	// Output: e1000e by pci:v00008086d00001*sv*sd*bc*sc*i* needs [ptp]
}

// What would loading do? A dry run tells each step and touches nothing.
func ExampleLoader_Load_dryRun() {
	root := exampleRoot()
	defer os.RemoveAll(root)
	index, err := modload.OpenDir(filepath.Join(root, "lib/modules/6.1.0"))
	if err != nil {
		log.Fatal(err)
	}
	loader := modload.NewLoader(index, &modloadtest.Kernel{}, modload.LoaderOptions{})
	_, err = loader.Load(context.Background(), modload.Request{
		Name:       "e1000e",
		Parameters: "debug=1",
		DryRun:     true,
		Step: func(s modload.Step) {
			fmt.Println(strings.TrimSpace("insmod " + strings.TrimPrefix(s.Path, root) + " " + s.Parameters))
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// insmod /lib/modules/6.1.0/kernel/ptp.ko
	// insmod /lib/modules/6.1.0/kernel/e1000e.ko debug=1
}

// Loading, with a kernel that is not one: NewKernel gives the real one.
func ExampleLoader_Load() {
	root := exampleRoot()
	defer os.RemoveAll(root)
	index, err := modload.OpenDir(filepath.Join(root, "lib/modules/6.1.0"))
	if err != nil {
		log.Fatal(err)
	}
	loader := modload.NewLoader(index, &modloadtest.Kernel{}, modload.LoaderOptions{})
	outcomes, err := loader.Load(context.Background(), modload.Request{Name: "e1000e"})
	if err != nil {
		log.Fatal(err)
	}
	for _, o := range outcomes {
		fmt.Println(o.Module, o.State)
	}
	_, err = loader.Load(context.Background(), modload.Request{Name: "nothing"})
	fmt.Println(errors.Is(err, modload.ErrNotFound))
	// Output:
	// ptp loaded
	// e1000e loaded
	// true
}
