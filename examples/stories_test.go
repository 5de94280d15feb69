package examples

// counting is the story of both counters.
const counting = `
	c? get -> 0
	c add -> 1
	c add 41 -> 42
	c add -2 -> 40
	c add x -> !is no number
	c add 9223372036854775807 -> !too much
	c? add -> !reads only
	c? get -> 40
	c nothing -> !it has: add, get
	d? get -> 0`

func stories() []story {
	return []story{
		{"counter", "c d", counting},
		{"counterc", "c d", counting},
		{"classify", "c", `
			c? classify What a fine day. -> clean
			c? classify Darn, DARN it: heck! -> dirty 3
			c classify darning is no darnation -> clean
			c? classify -> clean
			c steal -> !it has: classify, handle_batch`},
		{"tally", "t", `
			t? get -> 0
			t add -> 1
			t add 41 -> 42
			t add -2 -> 40
			t add x -> !is no number
			t? largest -> 41
			t? add -> !reads only
			t nothing -> !it has: add, get, largest`},
		{"kv", "m", `
			m? get a -> 0
			m put a|one|two -> 1
			m? get a -> 1|one|two
			m swap a|0|x -> conflict 1
			m swap a|1|x -> swapped 2
			m swap b|0|y -> swapped 3
			m? list -> a|b
			m? list |a -> b
			m delete a -> deleted
			m delete a -> absent
			m swap a|2|z -> conflict 0
			m put -> !the first line must be a key
			m? put c|1 -> !reads only
			m? list -> b`},
		{"ledger", "l", `
			l take a 1 ->
			l take a 2|b 1| ->
			l? last a -> 2
			l take a 2 ->
			l take b 4 ->
			l? report -> {"taken":4,"again":1,"left_out":2}
			l take a 3|x -> !lines of a key
			l take a -1 -> !from 1 on
			l? last a -> 2`},
		{"lock", "l", `
			l? holder a -> free
			l acquire a|ann|1000 -> token 1
			l acquire a|bob|1000 -> held ann 1000
			wait 600ms
			l renew a|1|1000 -> token 1
			l? holder a -> ann 1 1000
			wait 1s
			l? holder a -> free
			l renew a|1|1000 -> lost
			l acquire a|bob|1000 -> token 2
			l release a|1 -> lost
			l release a|2 -> released
			l acquire a|bob|0 -> !the time is`},
		{"queue", "q", `
			q pull -> none
			q push one -> 1
			q push two|lines -> 2
			q pull 1000 -> 1 1|one
			q pull 1000 -> 2 1|two|lines
			q done 2 1 -> done
			q pull 1000 -> none
			wait 1s
			q pull 1000 -> 1 2|one
			q done 1 1 -> stale
			q extend 1 2 5000 -> ok
			wait 3s
			q? count -> 0 1 0
			q done 1 2 -> done
			q? count -> 0 0 0`},
		{"reader", "r", `
			r? lines set -> 3
			r? lines set|sub/b -> 1
			r? lines alone -> 2
			r lines set|a -> 2
			r sum set|a|4|3 -> 11ca8a66 3
			r? sum set|a|4|3 -> 11ca8a66 3
			r sum set|a|9 -> !offset 9
			r sum other -> !nobody has it
			r? total -> 11`},
		{"readerc", "r", `
			r? sum set|a|4|3 -> 11ca8a66 3
			r sum set|a|4|3 -> 11ca8a66 3
			r sum set|a|9 -> !offset 9
			r sum set|a|x -> !numbers of bytes
			r sum other -> !nobody has it
			r? total -> 3`},
		{"wordcount-stream", "a b", `
			a count The cat, the dog|the end -> 6
			b count a dog -> 2
			b? top 2 -> 3 the|2 dog|
			a into other -> other
			a count the -> 1
			a? top -> 1 the|
			b? top 1 -> 3 the|
			b? count the -> !reads only
			b into -> !the name of a map`},
		{"poll", "n s", `
			n vote lunch|ann|soup -> 
			s vote lunch|bob|rice -> 
			s vote lunch|ann|rice -> 
			n? result lunch -> rice 2|
			s? turnout lunch -> 3
			n vote lunch|ann -> !three lines
			n? vote lunch|ann|soup -> !reads only`},
		{"primes", "p", `
			p start 1 -> !a number from 2
			p start 50000 -> 
			p start 50000 -> !counts already
			p? progress -> 50000 2 0 0
			wait 0s
			p? progress -> 50000 50000 5133 3 done
			p stop -> 
			p? progress -> 0 0 0 0`},
		{"transfer", "bank ann bob", `
			ann deposit 100 -> 100
			bank transfer ann|bob|30 -> ~
			bank transfer ann|bob|80 -> ~
			ann? balance -> 100 100
			settle
			ann? balance -> 70 70
			bob? balance -> 30 30
			down bob
			bank transfer ann|bob|50 -> ~
			settle
			ann? balance -> 70 20
			wait 11s
			ann? balance -> 70 70
			up bob
			settle
			bob? balance -> 30 30
			bank transfer ann|ann|1 -> !to itself`},
		{"workflow", "names licences mails", `
			names name 1 ann ann@x -> ann
			names name 2 ann a@x -> ann is taken
			names name 3 bob bob@x -> bob
			names name 4 -> !an ID without /
			licences? stock 1 -> !reads only
			licences stock 1 -> 1
			licences licence 1 ann ann@x 1 -> licence
			licences licence 3 bob bob@x 2 -> all licences are sold
			mails mail 1 ann ann@x 1 -> ann@x
			names undo 3 licence all licences are sold ->
			licences undo 3 licence all licences are sold ->
			names? show -> 1 name 1 0 ann|3 name 1 1 bob|
			licences? show 3 ->
			licences undo 1 index why not ->
			licences? status -> licence 1 1|
			licences licence 5 bob bob@x 3 -> licence
			mails undo 1 index why not ->
			mails mail 5 bob ann@x 3 -> ann@x
			names name 5 bob bob@x -> bob
			names undo 3 licence all licences are sold ->
			names? status -> name 3 1 twice 1|
			names name 6 bob b@x -> bob is taken`},
		{"election", "m1 m2 m3", `
			m1 setup 1|1 m1|2 m2|3 m3 -> 
			m2 setup 2|1 m1|2 m2|3 m3 -> 
			m3 setup 3|1 m1|2 m2|3 m3 -> 
			m1? leader -> none
			wait 10s
			m1? leader -> 3
			m2? leader -> 3
			down m3
			wait 10s
			m1? leader -> 2
			m2? leader -> 2
			up m3
			wait 10s
			m1? leader -> 3
			m2? leader -> 3
			m3? leader -> 3
			m1 lead 9 -> !no member`},
		{"membership", "g", `
			g? view -> view 0
			g join ann|1000 -> view 1 1000
			g join bob|3000 -> view 2 3000
			wait 900ms
			g beat ann -> view 2
			wait 900ms
			g? view -> view 2|ann|bob
			wait 200ms
			g? view -> view 3|bob
			g beat ann -> gone
			g leave bob -> view 4
			g? history -> 1 joined ann|2 joined bob|3 failed ann|4 left bob
			g expire ann|x -> !the timer's`},
	}
}
