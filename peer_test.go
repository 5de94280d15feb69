package shoal

import (
	"reflect"
	"testing"
)

// TestAttributesEqual: each field counts, those that are added later too.
func TestAttributesEqual(t *testing.T) {
	var walk func(name string, v reflect.Value, a *Attributes)
	walk = func(name string, v reflect.Value, a *Attributes) {
		zero := reflect.New(v.Type()).Elem()
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				walk(name+"."+v.Type().Field(i).Name, v.Field(i), a)
			}
			return
		case reflect.String:
			v.SetString("x")
		case reflect.Int:
			v.SetInt(1)
		case reflect.Uint64:
			v.SetUint(1)
		case reflect.Float64:
			v.SetFloat(1)
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		case reflect.Map:
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.ValueOf("k"), reflect.ValueOf("v"))
		default:
			t.Fatalf("%s is a %s", name, v.Kind())
		}
		if a.Equal(Attributes{}) || !a.Equal(*a) {
			t.Errorf("%s does not count", name)
		}
		v.Set(zero)
	}
	var a Attributes
	walk("Attributes", reflect.ValueOf(&a).Elem(), &a)
}
