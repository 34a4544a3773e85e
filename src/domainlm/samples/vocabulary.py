"""The words: industries with their trade, names of companies and places. All of it invented."""

import dataclasses

from domainlm.samples.grammar import parse

# Products, customers, sites, assets and drivers read as plurals or bare nouns, inputs as bare
# nouns: the sentences are written so that no verb has to agree with them.
_INDUSTRIES = """
2821 Plastic Materials, Synth Resins & Nonvulcan Elastomers
kind: Resins; Polymers; Compounds
segment: Engineered Resins; Films and Coatings; Recycled Compounds
product: flame-retardant compounds; barrier films; recycled pellets; color concentrates;
 impact-modified resins; adhesive tie layers; wire-coating grades
input: polymer-grade propylene; titanium dioxide; glass fiber; styrene monomer; post-consumer flake
customer: film converters; injection molders; cable makers; packaging groups; appliance makers
site: compounding plants; pilot lines; color laboratories
driver: appliance output; packaging volumes; construction activity; light vehicle production
rule: resin dust; food-contact additives; wastewater discharge; recycled-content labels
asset: twin-screw extruders; pelletizing lines; storage silos; solvent recovery units
edge: short color-matching times; consistent melt flow; technical service at the machine
3841 Surgical & Medical Instruments & Apparatus
kind: Surgical; Medical; Instruments
segment: Surgical Instruments; Sterile Disposables; Service and Repair
product: laparoscopic graspers; bone drills; single-use trocars; powered staplers; suction sets;
 endoscope sheaths; sterilization trays
input: surgical stainless steel; medical-grade silicone; tungsten inserts; sterile film pouches
customer: hospital systems; ambulatory surgery centers; purchasing groups; veterinary clinics
site: clean rooms; sterilization centers; repair depots
driver: elective procedure volumes; hospital capital budgets; outpatient migration; staffing on
 wards
rule: device clearance; sterility validation; adverse event reports; unique device labels
asset: five-axis grinders; molding cells; sterilization chambers; inspection stations
edge: surgeon training; low breakage rates; same-week repair; documented sterility
4213 Trucking (No Local)
kind: Freight; Carriers; Transport
segment: Truckload; Dedicated Fleets; Brokerage
product: dry van loads; refrigerated hauls; dedicated routes; flatbed moves; drop-trailer programs;
 expedited shipments; cross-dock services
input: diesel fuel; replacement tires; late-model tractors; trailer parts; driver hours
customer: grocery chains; beverage bottlers; home-improvement stores; paper mills; third-party
 shippers
site: terminals; driver schools; trailer yards
driver: freight tonnage; spot rates; retail restocking; industrial output
rule: hours of service; engine emissions; drug testing; electronic logs
asset: sleeper tractors; refrigerated trailers; dispatch systems; fuel islands
edge: on-time delivery; dense lanes; low empty miles; experienced drivers
5812 Retail-Eating Places
kind: Kitchens; Grills; Restaurants
segment: Company Restaurants; Franchise; Catering
product: smokehouse platters; breakfast skillets; family meals; seasonal pies; grain bowls; catering
 trays; house sauces
input: ground beef; shell eggs; cooking oil; fresh produce; to-go packaging
customer: families; weekday lunch guests; loyalty members; office managers; highway travelers
site: restaurants; commissaries; test kitchens
driver: consumer confidence; guest traffic; gasoline prices; wage growth among hourly workers
rule: menu labels; food handling; tip credits; liquor service
asset: smokers; point-of-sale terminals; drive-through lanes; walk-in coolers
edge: generous portions; table service; local sourcing; quick turns at lunch
4941 Water Supply
kind: Water; Aqueduct; Waterworks
segment: Regulated Water; Wastewater; Contract Operations
product: metered water service; wastewater treatment; fire protection service; bulk water sales;
 meter reading contracts; leak detection services; recycled water for irrigation
input: purchased water; electric power; treatment chemicals; ductile iron pipe; granular carbon
customer: households; small towns; food processors; school districts; golf courses
site: treatment works; pumping stations; laboratories
driver: rainfall; population growth; new service connections; conservation by households
rule: lead service lines; allowed returns; drinking-water contaminants; drought withdrawals
asset: transmission mains; elevated tanks; filter beds; remote meters
edge: senior water rights; few main breaks; constructive rate cases; trained operators
7372 Services-Prepackaged Software
kind: Software; Systems; Logic
segment: Subscriptions; Maintenance; Professional Services
product: scheduling software; claims workflows; inventory planning modules; audit dashboards;
 field-service apps; document archives; pricing engines
input: cloud hosting; contract developers; mapping data; open-source components
customer: county governments; regional insurers; equipment dealers; food distributors; school boards
site: development centers; support desks; hosting regions
driver: renewals; seat growth; public-sector budgets; migration from older systems
rule: data residency; breach notices; accessibility; export of encryption
asset: hosting clusters; test environments; release pipelines; customer portals
edge: fast implementation; stable releases; deep forms libraries; low downtime
1389 Oil & Gas Field Services, NEC
kind: Well Services; Energy Services; Oilfield
segment: Well Completion; Fluids; Rentals
product: cementing jobs; coiled-tubing runs; completion fluids; frac-tree rentals; wireline logs;
 flowback services; plug-and-abandonment work
input: barite; proppant; high-pressure steel; diesel fuel; brine
customer: independent producers; gas storage operators; private drillers; pipeline owners
site: field yards; fluid plants; machine shops
driver: rig counts; crude oil prices; drilling budgets; takeaway capacity
rule: produced water; methane leaks; pressure vessels; well plugging
asset: pump trucks; coiled-tubing units; mixing plants; pressure-control stacks
edge: crew tenure; safe hours worked; low non-productive time; yards near the basin
2050 Bakery Products
kind: Bakeries; Mills; Foods
segment: Fresh Bread; Frozen Dough; Snacks
product: sandwich loaves; frozen dough; oat crackers; dinner rolls; toaster pastries; gluten-free
 mixes; private-label buns
input: hard winter wheat; soybean oil; cane sugar; corrugated boxes; natural gas
customer: supermarket chains; club stores; school cafeterias; hotel kitchens; vending operators
site: bakeries; flour mills; route depots
driver: at-home meals; promotional activity; wheat harvests; private-label share
rule: allergen labels; nutrition claims; truck routes; sanitation
asset: tunnel ovens; spiral freezers; slicing lines; delivery trucks
edge: daily freshness; shelf placement; route density; trusted brands
2421 Sawmills & Planing Mills, General
kind: Timber; Lumber; Forest Products
segment: Lumber; Treated Wood; Timberlands
product: kiln-dried studs; treated decking; laminated beams; cedar siding; utility poles; wood
 pellets; fence boards
input: standing timber; preservative chemicals; kiln fuel; saw blades; resin adhesives
customer: truss builders; lumber yards; pole-line contractors; deck installers; export merchants
site: sawmills; treating yards; nurseries
driver: housing starts; remodeling outlays; mortgage rates; timber harvests
rule: endangered species; boiler emissions; treated-wood runoff; replanting
asset: band saws; drying kilns; log loaders; planers
edge: high log recovery; own timber; rail access; consistent grades
5940 Retail-Sporting Goods & Hobby Stores
kind: Outfitters; Outdoors; Trading
segment: Stores; Online; Rentals and Repair
product: trail boots; paddle boats; climbing hardware; camp stoves; fly rods; winter jackets;
 bicycle repairs
input: imported footwear; insulated fabric; ocean freight; store leases; aluminum tubing
customer: weekend campers; anglers; cyclists; hunting clubs; scout troops
site: stores; repair benches; fulfillment centers
driver: park visits; snowfall; discretionary income; online traffic
rule: import duties; firearm storage; product recalls; wage notices
asset: store fixtures; picking systems; rental fleets; mobile registers
edge: expert staff; easy returns; local assortments; repair skills
"""


@dataclasses.dataclass(frozen=True)
class Industry:
    """A line of business: its SIC code and title, and its words by symbol."""

    code: str
    title: str
    words: dict[str, tuple[str, ...]]


def _industries() -> tuple[Industry, ...]:
    found: list[tuple[str, list[str]]] = []
    for line in _INDUSTRIES.strip().splitlines():
        if line[:4].isdigit():
            found.append((line, []))
        else:
            found[-1][1].append(line)
    return tuple(Industry(head[:4], head[5:], parse("\n".join(body))) for head, body in found)


INDUSTRIES = _industries()

NAMES = parse("""
start: Quill; Ostra; Brax; Velm; Hask; Pelt; Orrin; Dunmar; Fenn; Grivel; Isker; Jorv; Kestra; Lumb;
 Morv; Nesk; Oxel; Prisk; Rudd; Skarn; Tolv; Umber; Vask; Wend; Yarl; Zell; Corrib; Drov; Elst; Harg
end: moor; wick; fen; holt; vale; mere; stead; garth; lund; marsh; thorpe; combe; rick; dale; brook;
 haven; ridge; crest; field; gate
place: Marrow; Harlan; Two Pine; Cold; Sable; Ashen; Millet; Bitter; Gray
feature: Ferry; Junction; Hollow; Landing; Mound; Crossing; Rapids; Notch
state: Ohio OH; Georgia GA; Oregon OR; Minnesota MN; Kentucky KY; Arizona AZ; Vermont VT; Texas TX
""")
