/**
 * Words that name the same action or thing in the descriptions of tools.
 *
 * Owns the list and its turning into stems; not what a synonym counts. Invariants: general vocabulary of
 * programming interfaces, made for no particular server or query set; each line stands for itself, so
 * that meaning does not leak from line to line. A thesaurus such as WordNet was rejected: measured, it
 * brings in more wrong senses than right ones.
 */
import { tokenize } from "./tokenizer.ts";

/** Most synonyms of one word that count, in the order of the lines. */
const MAX_SYNONYMS = 12;

/** One line, one meaning. */
const LINES = `
get fetch read retrieve obtain show view display load
list enumerate browse show all
search find query lookup look seek discover locate
create add make new insert generate register
delete remove erase clear drop destroy discard trash
update edit modify change alter set adjust patch
write save store put persist
send post submit publish deliver push share
run execute launch invoke call perform trigger
start begin launch open resume
stop end halt terminate kill cancel close
pause suspend hold
copy duplicate clone replicate
move relocate transfer migrate
rename retitle
merge combine join concatenate unite
split divide separate
compare diff difference versus
convert transform translate turn transcode
upload import ingest
download export save
install setup deploy provision
check verify validate test inspect
analyze examine inspect evaluate assess study
summarize summary digest overview gist
describe explain detail information info about
count number total amount many
calculate compute math arithmetic evaluate
schedule plan calendar agenda
assign allocate delegate
approve accept confirm
reject decline deny
enable activate on
disable deactivate off
connect link attach associate relate
disconnect unlink detach
subscribe follow watch
monitor observe track watch
archive backup snapshot
restore recover revert rollback undo
scrape crawl extract
click press tap
type enter fill input
screenshot capture image
navigate visit browse goto open
remember memory recall store knowledge
reason think thought reflect
directory folder path
file document
content text body
picture image photo illustration
video clip movie film
audio sound voice speech
music song track
transcript caption subtitle
webpage website page site web url
internet web online
link url
email mail inbox
message chat dm sms
channel room
comment reply note remark
user person people member account
contact person lead
team group organization
company business organization firm corporation
employee staff worker
customer client buyer
repository repo project codebase
branch fork
commit change revision history
pull merge request pr
issue bug ticket defect problem
task todo job item
release version tag
code source script snippet program
function method routine
error failure exception fault crash
log history record trail
status state health condition
event meeting appointment
reminder alarm notification alert
weather forecast temperature climate
place location venue point position
address geocode coordinate
map route direction navigation
distance far away
restaurant food dining
hotel accommodation lodging stay
flight airline plane
train rail railway
trip travel journey itinerary
stock share equity ticker
price cost quote rate
currency exchange forex money
crypto cryptocurrency coin token
wallet balance account
invoice bill receipt
payment charge transaction pay
order purchase buy
product item goods
database sql table
row record entry
column field attribute
schema structure column
table spreadsheet sheet
spreadsheet excel workbook
presentation slide deck powerpoint
chart graph plot diagram visualization
graph node entity relation
relation relationship edge link
fact observation
key value pair
secret credential password token
setting configuration config option preference
environment variable env
server host machine instance
container docker pod
cluster kubernetes
process program task
news headline article
paper article publication research
author writer
book novel
dataset data
model llm ai
trend trending popular hot
latest recent newest last current
now current today time
time date clock
timezone zone
sum add plus total
echo repeat mirror
long slow
sample random example
game match
score result standing
recipe meal dish cooking
drug medicine medication
disease illness condition
gene variant mutation
protein molecule structure
house property estate
vehicle car
job position vacancy career
course lesson class
quiz question test
tag label category
rating review feedback
dependency package library
documentation docs manual reference guide
vulnerability weakness cve security
permission access role right
keyword phrase term word
size length big
`;

let made: ReadonlyMap<string, readonly string[]> | undefined;

/** By stem: the stems of its synonyms, without itself. Made at the first search, since a start waits for nothing. */
export function allSynonyms(): ReadonlyMap<string, readonly string[]> {
  made ??= makeSynonyms();
  return made;
}

function makeSynonyms(): Map<string, string[]> {
  const byStem = new Map<string, string[]>();
  for (const line of LINES.trim().split("\n")) {
    const stems = tokenize(line, { keepsStopWords: true });
    for (const stem of stems) {
      const others = new Set([...(byStem.get(stem) ?? []), ...stems]);
      others.delete(stem);
      byStem.set(stem, [...others].slice(0, MAX_SYNONYMS));
    }
  }
  return byStem;
}
