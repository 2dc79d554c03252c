// Finds the data types that the selected calls and properties can carry.
package main

import (
	"fmt"
	"slices"
	"sort"
)

type reach struct {
	s        *schema
	seen     map[string]bool
	children map[string][]string
}

func (s *schema) reachable() ([]string, error) {
	r := &reach{s: s, seen: map[string]bool{}, children: map[string][]string{}}
	for name, t := range s.types {
		r.children[t.base] = append(r.children[t.base], name)
	}
	for _, method := range selectedMethods {
		args, response := s.types[s.aliases[method]], s.types[method+"Response"]
		if args == nil || response == nil {
			return nil, fmt.Errorf("the schema has no call %s", method)
		}
		r.visitFields(args)
		r.visitFields(response)
	}
	for object, properties := range selectedProperties {
		for _, property := range properties {
			f, err := s.property(object, property)
			if err != nil {
				return nil, err
			}
			r.visitField(f)
		}
	}
	for _, name := range extraTypes {
		if s.types[name] == nil {
			return nil, fmt.Errorf("the schema has no type %s", name)
		}
		r.visit(name)
	}
	names := make([]string, 0, len(r.seen))
	for name := range r.seen {
		names = append(names, name)
	}
	sort.Strings(names)
	return names, nil
}

func (r *reach) visit(name string) {
	t := r.s.types[name]
	if t == nil || r.seen[name] {
		return
	}
	r.seen[name] = true
	r.visit(t.base)
	kept, limited := keptFields[name]
	if limited {
		for i := range t.fields {
			if !slices.Contains(kept, t.fields[i].name) {
				t.fields[i].typeName, t.fields[i].polymorphic, t.fields[i].refTarget = "opaque", false, ""
			}
		}
	}
	r.visitFields(t)
}

func (r *reach) visitFields(t *dataType) {
	for _, f := range t.fields {
		r.visitField(f)
	}
}

func (r *reach) visitField(f field) {
	r.visit(f.typeName)
	if f.polymorphic {
		r.visitDescendants(f.typeName)
	}
}

func (r *reach) visitDescendants(name string) {
	if closedBases[name] {
		return
	}
	for _, child := range r.children[name] {
		r.visit(child)
		r.visitDescendants(child)
	}
}

// property finds a managed object's property in it or its bases.
func (s *schema) property(object, name string) (field, error) {
	for current := object; current != ""; current = s.objects[current].base {
		t := s.objects[current]
		if t == nil {
			break
		}
		for _, f := range t.fields {
			if f.name == name {
				if f.typeName == "ref" {
					f.refTarget = propertyTargets[name]
				}
				return f, nil
			}
		}
	}
	return field{}, fmt.Errorf("the schema has no property %s.%s", object, name)
}
