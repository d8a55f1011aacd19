package modload

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestNobodyElseKnowsWhereModulesLie holds the project to its one idea: outside this package no code names the directory
// of module trees, reads the environment for it, or asks the kernel for its release.
//
// cmd/kudev/internal/vm builds the file systems of guests, whose /lib/modules is not this machine's; tests build fake
// machines. A text for a person, which has blanks in it, names no file.
func TestNobodyElseKnowsWhereModulesLie(t *testing.T) {
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(path)
		if d.IsDir() && (name == "../modload" || name == "../cmd/kudev/internal/vm" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		files++
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, why := range knowsWhereModulesLie(fset, file) {
			t.Error(why)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Errorf("only %d files were read: this test must see the whole project", files)
	}
}

// The environment variables that other tools are moved by.
var moduleVariable = regexp.MustCompile(`^[A-Z_]*(MODULE|MODULES|KMOD|KUDEV)_?(DIR|DIRECTORY|ROOT|PATH|PREFIX|RELEASE)$`)

func knowsWhereModulesLie(fset *token.FileSet, file *ast.File) (why []string) {
	say := func(n ast.Node, text string) {
		why = append(why, fset.Position(n.Pos()).String()+": "+text+": take it from modload.Config")
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			text, err := strconv.Unquote(n.Value)
			switch {
			case n.Kind != token.STRING || err != nil || strings.ContainsAny(text, " \n"):
			case strings.Contains(text, "lib/modules"):
				say(n, strconv.Quote(text)+" names the directory of module trees")
			case moduleVariable.MatchString(text):
				say(n, strconv.Quote(text)+" is a variable for the directory of module trees")
			case strings.HasSuffix(text, "kernel/osrelease"), text == "/proc/version":
				say(n, strconv.Quote(text)+" tells the kernel's release")
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && n.Sel.Name == "Uname" && (x.Name == "unix" || x.Name == "syscall") {
				say(n, x.Name+".Uname tells the kernel's release")
			}
		}
		return true
	})
	return why
}

func TestKnowingWhereModulesLieIsNoticed(t *testing.T) {
	const source = `package p
var a = "/lib/modules/" + release
var b = os.Getenv("MODULE_DIR")
var c = unix.Uname(&u)
var d = "/proc/sys/kernel/osrelease"
var fine = "use DIR as root for /lib/modules"
`
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if why := knowsWhereModulesLie(fset, file); len(why) != 4 {
		t.Errorf("found %d of 4:\n%s", len(why), strings.Join(why, "\n"))
	}
}
