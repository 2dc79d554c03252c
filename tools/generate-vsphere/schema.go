// Reads govmomi's Go source into a schema: data types in element order, enumerations, managed objects.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

type field struct {
	name        string // element name
	typeName    string // schema name: string, int, long, ref, anyType, or a data type or enumeration
	refTarget   string // managed object type a ref points at, when the schema says so
	array       bool
	optional    bool
	polymorphic bool   // carries xsi:type
	since       string // first API version, empty for 6.x and older
}

type dataType struct {
	name, base string
	fields     []field
	owner      string // managed object of a call's argument type
}

type schema struct {
	types     map[string]*dataType
	aliases   map[string]string   // call name -> argument type
	enums     map[string][]string // enumeration -> values
	objects   map[string]*dataType
	namespace map[string]string // call -> vim25 or pbm
}

var (
	refersPattern = regexp.MustCompile("Refers instances? of `(\\w+)`")
	ownerPattern  = regexp.MustCompile("The parameters of `(\\w+)\\.")
)

func readSchema(govmomiDir string) (*schema, error) {
	s := &schema{
		types: map[string]*dataType{}, aliases: map[string]string{}, enums: map[string][]string{},
		objects: map[string]*dataType{}, namespace: map[string]string{},
	}
	for _, pkg := range []string{"vim25/types", "pbm/types", "vim25/mo"} {
		for _, file := range []string{"types.go", "enum.go", "unreleased.go", "mo.go"} {
			path := filepath.Join(govmomiDir, pkg, file)
			if matches, _ := filepath.Glob(path); len(matches) == 0 {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				return nil, err
			}
			s.readFile(parsed, strings.Split(pkg, "/")[0], strings.HasSuffix(pkg, "/mo"))
		}
	}
	if err := s.fixVersions(); err != nil {
		return nil, err
	}
	return s, s.fixOrder()
}

func (s *schema) readFile(file *ast.File, namespace string, managedObjects bool) {
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				s.readType(spec, gen.Doc.Text(), namespace, managedObjects)
			case *ast.ValueSpec:
				s.readEnumValue(spec)
			}
		}
	}
}

func (s *schema) readType(spec *ast.TypeSpec, doc, namespace string, managedObject bool) {
	name := spec.Name.Name
	switch t := spec.Type.(type) {
	case *ast.StructType:
		read := &dataType{name: name}
		if m := ownerPattern.FindStringSubmatch(doc); m != nil {
			read.owner = m[1]
		}
		for _, f := range t.Fields.List {
			goType := typeText(f.Type)
			switch {
			case len(f.Names) == 0:
				read.base = strings.TrimPrefix(goType, "types.")
			case f.Names[0].Name == "This" || f.Names[0].Name == "Self":
			default:
				read.fields = append(read.fields, s.readField(f, goType, managedObject))
			}
		}
		if managedObject {
			s.objects[name] = read
		} else {
			s.types[name] = read
		}
	case *ast.Ident:
		if t.Name == "string" {
			s.enums[name] = nil
		} else if strings.HasSuffix(t.Name, "RequestType") {
			s.aliases[name] = t.Name
			s.namespace[name] = namespace
		}
	}
}

func (s *schema) readField(f *ast.Field, goType string, managedObject bool) field {
	tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`"))
	key := "xml"
	if managedObject {
		key = "json"
	}
	parts := strings.Split(tag.Get(key), ",")
	read := field{name: parts[0], since: tag.Get("vim")}
	read.optional = slices.Contains(parts, "omitempty") || strings.HasPrefix(goType, "*")
	goType = strings.TrimPrefix(goType, "*")
	if goType == "[]byte" {
		read.typeName = "base64Binary"
		return read
	}
	if goType == "types.ByteSlice" || goType == "ByteSlice" {
		goType = "[]byte"
	}
	if goType == "[][]byte" || goType == "[]ByteSlice" {
		goType = "[]opaque" // a list of byte lists: nothing that we read or send
	}
	read.array = strings.HasPrefix(goType, "[]")
	goType = strings.TrimPrefix(strings.TrimPrefix(goType, "[]"), "types.")
	if strings.HasPrefix(goType, "Base") && goType != "BaseConfigInfo" {
		goType = strings.TrimPrefix(goType, "Base")
		read.polymorphic = true
	}
	read.typeName = schemaName(goType)
	if read.typeName == "ref" {
		if m := refersPattern.FindStringSubmatch(f.Doc.Text()); m != nil {
			read.refTarget = m[1]
		}
	}
	return read
}

func (s *schema) readEnumValue(spec *ast.ValueSpec) {
	if len(spec.Values) != 1 {
		return
	}
	call, ok := spec.Values[0].(*ast.CallExpr)
	if !ok || len(call.Args) != 1 {
		return
	}
	literal, ok := call.Args[0].(*ast.BasicLit)
	if ok && literal.Kind == token.STRING {
		name := typeText(call.Fun)
		s.enums[name] = append(s.enums[name], strings.Trim(literal.Value, `"`))
	}
}

func (s *schema) fixOrder() error {
	for _, fix := range orderFixes {
		t := s.types[fix.typeName]
		var moved, rest []field
		for _, f := range t.fields {
			if slices.Contains(fix.fields, f.name) {
				moved = append(moved, f)
			} else {
				rest = append(rest, f)
			}
		}
		at := slices.IndexFunc(rest, func(f field) bool { return f.name == fix.after })
		if at < 0 || len(moved) != len(fix.fields) {
			return fmt.Errorf("order fix of %s does not match the schema", fix.typeName)
		}
		if t.fields[at+1].name == fix.fields[0] {
			return fmt.Errorf("the schema source has the order of %s right: remove the fix", fix.typeName)
		}
		t.fields = slices.Insert(rest, at+1, moved...)
	}
	return nil
}

func (s *schema) fixVersions() error {
	for path, since := range sinceFixes {
		typeName, fieldName, _ := strings.Cut(path, ".")
		t := s.types[typeName]
		if t == nil {
			return fmt.Errorf("version fix of %s: no such type", path)
		}
		at := slices.IndexFunc(t.fields, func(f field) bool { return f.name == fieldName })
		if at < 0 || t.fields[at].since != "" {
			return fmt.Errorf("version fix of %s does not match the schema", path)
		}
		t.fields[at].since = since
	}
	return nil
}

func schemaName(goType string) string {
	names := map[string]string{
		"bool": "boolean", "int8": "byte", "byte": "byte", "uint8": "byte", "int16": "short", "int32": "int",
		"int64": "long", "float32": "float", "float64": "double", "time.Time": "dateTime", "AnyType": "anyType",
		"ManagedObjectReference": "ref",
	}
	if name, ok := names[goType]; ok {
		return name
	}
	return goType
}

func typeText(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return "*" + typeText(e.X)
	case *ast.ArrayType:
		return "[]" + typeText(e.Elt)
	case *ast.SelectorExpr:
		return typeText(e.X) + "." + e.Sel.Name
	}
	return fmt.Sprintf("%T", e)
}
