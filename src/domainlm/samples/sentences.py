"""The grammar of a fictional 10-K: phrases shared by all industries, and sentences by topic.

Names that end in `_up` and `_down` are chosen by the direction of a figure, names that end in a
subject of `RISKS` by the risk at hand. `@name@` is a figure of the year (`company.phrases`).
"""

from domainlm.samples.grammar import parse

RISKS = ("supply", "demand", "rivals", "rules", "people", "data", "debt", "claims")

PHRASES = parse("""
could: could; may; might
hurt: reduce; lower; depress; weigh on; erode; put pressure on; impair
measure: our gross margin; our operating income; cash flow from operations; our earnings; sales
 volumes; our results of operations; the market price of our common stock; demand for {product}; the
 return we earn on {asset}; revenue in {segment}
raise: increase; add to; drive up; push up
cost: the cost of {input}; freight and energy costs; our cost of capital; warranty expense; what we
 pay for {input}; wages at our {site}; insurance premiums; overtime at our {site}
effect: {hurt} {measure}; {raise} {cost}; {raise} {cost} and {hurt} {measure}; {hurt} {measure} or
 {measure}; delay {plan}; force us to {remedy}; lead {customer} to {leave}; cause us to record
 {charge}; {hurt} {measure} and delay {plan}
plan: the start-up of {asset}; the opening of new {site}; the launch of {product}; planned spending
 on {asset}; the expansion of {segment}; work on our {site}
remedy: curtail work at our {site}; renegotiate terms with {customer}; cut prices for {product}; buy
 {input} at short notice; postpone spending on {asset}; withdraw from some {product}
leave: turn to other suppliers; defer orders; ask for lower prices; shorten their commitments; bring
 the work in-house; hold less inventory; rebid their contracts
charge: an impairment of {asset}; restructuring charges; write-downs of inventory; severance costs;
 an impairment of goodwill in {segment}; losses on purchase commitments
span: in recent years; over the past {small} years; since {year}; in the years after {year}
when: in recent years; over the past {small} years; from time to time; in most of our markets; since
 {year}; in a typical year; in some regions; during fiscal @fy@; late in fiscal @py@
degree: significantly; materially; sharply; gradually; temporarily; further
where: in the [Southeast|Midwest|Northwest|Great Lakes region|Plains states]; in {segment}; near our
 {site} in @town@; in smaller towns; in our older markets; abroad
reason_up: stronger {driver}; higher selling prices for {product}; new contracts with {customer};
 the ramp-up of {product}; better pricing in {segment}; more orders from {customer}; additional
 {site} opened since @py@; a richer mix of {product}; share gained by our {product}
reason_down: weaker {driver}; lower selling prices for {product}; contracts lost with {customer};
 the run-off of older {product}; softer pricing in {segment}; fewer orders from {customer}; the
 closing of some {site}; a poorer mix of {product}; inventory cuts by {customer}
moved_up: increased; rose; grew; advanced; climbed
moved_down: decreased; fell; declined; slipped; dropped
change_up: increase; growth; improvement; rise
change_down: decrease; decline; reduction; drop
more_up: higher; increased; greater
more_down: lower; reduced; decreased
force_up: [higher|rising] prices paid for {input}; more overtime at our {site}; added headcount in
 {segment}; consulting fees for {asset}; larger incentive accruals; start-up costs of {asset};
 higher freight on {product}
force_down: [lower|easing] prices paid for {input}; less overtime at our {site}; fewer positions in
 {segment}; savings from newer {asset}; smaller incentive accruals; the end of leases on {asset};
 cheaper freight on {product}
hazard_supply: a shortage of {input}; the loss of a source of {input}; late deliveries of {input};
 sudden moves in the price of {input}; quality failures in {input}
why_supply: we buy {input} from {small} vendors under agreements of {small} months; our {site} carry
 only {small} weeks of {input}; few vendors can qualify {input} for our {product}; about {pct} of
 our cost of revenue is tied to {input}
hazard_demand: a decline in {driver}; lower demand from {customer}; a slowdown in {driver}; the loss
 of one of our larger {customer}; a shift by {customer} away from {product}
why_demand: {customer} and {customer} together accounted for {pct} of our revenue; most orders for
 {product} can be canceled on {small} days' notice; spending by {customer} moves with {driver}; our
 {site} carry fixed costs whatever {driver} may be
hazard_rivals: new capacity among our competitors; aggressive pricing of {product}; the entry of a
 larger rival into {segment}; imports of low-priced {product}; substitutes for {product}
why_rivals: we compete with {small} national firms and many local ones in {product}; some rivals
 have larger {site} and deeper pockets; {customer} compare bids on price first; barriers to entry in
 {segment} are modest
hazard_rules: new rules on {rule}; stricter enforcement of standards on {rule}; a failed inspection
 of our {site}; delays in permits for {asset}; changes in the law on {rule}
why_rules: our {site} need permits that expire every {small} years; rules on {rule} differ among the
 states in which we operate; agencies have proposed {small} changes to standards on {rule} since
 {year}; compliance with standards on {rule} cost us {money} last year
hazard_people: a shortage of skilled workers; the departure of senior managers; a strike at one of
 our {site}; high turnover among hourly staff; rising wages at our {site}
why_people: it takes {small} months to train an operator of our {asset}; about {pct} of our hourly
 workforce is covered by labor agreements; other employers near our {site} recruit the same trades;
 {small} of our managers could retire within {small} years
hazard_data: a breach of our information systems; ransomware at one of our {site}; the failure of a
 hosting vendor; theft of records about {customer}; a botched system upgrade
why_data: our {site} depend on networks that link orders for {product} with {asset}; we keep records
 about {customer} on systems of outside vendors; {small} of our older systems no longer receive
 updates; we logged {count} attempted intrusions in the last year
hazard_debt: a rise in interest rates; a breach of our loan covenants; tighter lending by banks; our
 inability to refinance on acceptable terms; a downgrade of our debt
why_debt: our credit agreement matures in {small} years and bears a floating rate; we had @debt@ of
 debt outstanding at year end; covenants limit what we may spend on {asset}; the loan is secured by
 our {asset} and our {site}
hazard_claims: a product liability verdict; lawsuits over {product}; a recall of {product}; disputes
 with {customer} over warranties; claims by former employees
why_claims: {product} are used in settings where a fault can injure people; we retain the first
 {money} of each claim; {customer} ask us to indemnify them for {product}; claims over {product}
 have reached {small} of our competitors
""")

TOPICS = parse("""
overview:
- @name@ [makes|provides|supplies|sells] {product}, {product} and {product} [to|for] {customer} and
 {customer} [from|through] @sites_n@ {site} {where}.
- We were [founded|organized|established] in @founded@ in @town@, @state@, [to serve|by former
 suppliers of|by partners who knew] {customer}, and {span} we have [widened|extended|moved] our
 range [toward|into] {product}.
- We report [our business|our operations|results] in @segments_n@ segments: @segments@. {segment} is
 the one [most exposed to|closest to|most dependent on] {driver}.
- Our [offering|range|business] rests on {edge}, {edge} and long ties with {customer}.
- {span}, {reason_up} and {reason_up} have [shaped|changed|supported] our [mix|plans|results].
goods:
- {segment} [offers|covers|includes] {product} and {product}, which {customer} [buy|order|use]
 [mainly|chiefly|in part] for {edge}.
- {product} [represented|made up|accounted for] {pct} of revenue in fiscal @fy@, and {product} a
 further {pct}.
- We [introduced|launched|added] {small} {product} {when}, [most|some|all] of them [developed
 with|requested by|tested at the sites of] {customer}.
- [Margins|Returns|Prices] on {product} [tend to exceed|are usually below|run close to] those on
 {product} because {customer} [value|pay for|expect] {edge}.
- Our {site} turn {input} and {input} into {product}, [typically|usually|often] within {small} days
 of an order from {customer}.
- Demand for {product} [follows|tracks|depends on] {driver} and, to a lesser degree, {driver}.
buyers:
- We serve {customer}, {customer} and {customer} {where}, [none|only one] of which [exceeded|came to
 more than] {pct} of revenue.
- Our ten largest {customer} [contributed|brought|generated] {pct} of revenue, [and|while] {pct}
 came [from|by way of] {small} agreements that [run|extend] beyond fiscal @fy@.
- [Contracts|Agreements] with {customer} [usually|generally] last {small} years, [adjust|reset]
 prices for {input}, and may be ended if we [miss|fall short of] targets for {edge}.
- Sales staff based [at|near] our {site} call on {customer}, while {small} independent agents
 [cover|look after] {customer} {where}.
- {span}, {customer} have [begun to|tended to|been quick to] {leave} in periods of [soft|weak]
 {driver}.
sourcing:
- The [largest|main] purchased items are {input}, {input} and services for our {asset}.
- We [buy|source|purchase] {input} [under contracts of|on terms of] {small} months and {input} on
 the spot market, with {small} vendors [qualified|approved] for each.
- The price of {input} [moved|ranged] by {pct} during fiscal @fy@, and we [recovered|passed on]
 about {pct} of the change through [surcharges|price lists|indexed contracts].
- Supplies of {input} were [adequate|tight|sufficient] {when}, [although|but|and] lead times for
 {asset} [lengthened|shortened] to {small} months.
- We keep {small} weeks of {input} at our {site} so that {customer} can [count on|plan around]
 {edge}.
field:
- Competition in {product} is [intense|keen|fragmented] and turns on price, {edge} and {edge}.
- We [compete|contend] with {small} national firms and [many|dozens of|a number of] local ones for
 {customer}, some of whom [own|operate] larger {site} or newer {asset}.
- We believe that we [stand apart|win orders|gain] with {customer} through {edge}, [although|but]
 rivals in {segment} have [copied|matched] our {product} {span}.
- {span}, {small} competitors have [left|entered|merged in] the market for {product} {where}.
oversight:
- Our {site} are subject to rules on {rule}, {rule} and {rule} [issued|enforced] by federal, state
 and local agencies.
- We spent {money} on [compliance with|measures under|upgrades for] standards on {rule} in fiscal
 @fy@ and [expect|plan] to spend {money} on {rule} in the next {small} years.
- [An inspection|A review] of our {site} {where} in fiscal @py@ [found|noted] {small} minor matters
 related to {rule}, all since [resolved|closed].
staff:
- At year end we had @employees@ employees, of whom about {pct} worked at our {site} and {pct} in
 [sales|engineering|customer service].
- Labor agreements [cover|apply to] {pct} of our hourly staff and expire over the next {small}
 years.
- We [train|certify|retrain] operators of {asset} for {small} weeks, and injuries per {count} hours
 [fell|improved] by {point} {when}.
strategy:
- We intend to [invest in|add|modernize] {asset}, [broaden|deepen] our range of {product} and win
 more {customer} {where}.
- Over the next {small} years we plan to [open|refit|expand] {small} {site} and to [shift|move] our
 mix toward {product}, where {edge} can [earn|command|support] a better price.
- We [review|screen|consider] acquisitions in {segment} that would bring {edge} or {customer} that
 we do not yet serve.
season:
- Revenue is [highest|lowest|weakest|strongest] in the [first|second|third|fourth] fiscal quarter,
 when {driver} and orders from {customer} [peak|turn|change].
- We [hold|own|license] {small} patents and {small} trademarks on {product}, which [expire|lapse]
 over the next {small} years, and no single one is [material|critical] to {segment}.
caption:
- {hazard} {could} {effect}.
- Because {why}, {hazard} {could} {effect}.
- We are exposed to {hazard}, which {could} {effect}.
- {hazard} or {hazard} {could} {degree} {hurt} {measure}.
- If we cannot manage {hazard}, we {could} have to {remedy}.
risk:
- {hazard} {could} {effect}, and in that event we {could} have to {remedy}.
- As of the end of fiscal @fy@, {why}, so that {hazard} {could} {effect}.
- {when}, {hazard} led {customer} to {leave}, and a repetition {could} {effect}.
- We [cannot assure|can give no assurance] that {hazard} will not {effect} {where}.
- Although we have [taken steps|made plans|set aside reserves] to {remedy}, {hazard} {could} still
 {effect} [within|for] {small} [months|quarters].
- Because {why}, even {hazard} {where} {could} {effect}.
- The [effect|impact] would be [greatest|most severe|felt first] in {segment}, where {why}.
- [Any such event|Such a development] {could} {effect}, {raise} {cost} or lead {customer} to
 {leave}.
- In fiscal {year}, {hazard} cost us about {money} and [took|needed] {small} months to
 [resolve|absorb].
summary:
- Fiscal @fy@ was [shaped|marked|influenced] by {reason} and {reason}, while our work on {asset}
 [continued|went ahead|stayed on schedule].
- The [main|chief] drivers of our results are {driver}, the price of {input} and the
 [use|utilization] of our {asset}, [as described in|and are discussed in] Item 1A, Risk Factors.
- We [track|watch|follow] {driver}, {driver} and orders from {customer} as [early|leading] signs of
 demand for {product}.
revenue:
- Revenue {moved} @revenue_pct@ to @revenue@ in fiscal @fy@ from @revenue_py@ in fiscal @py@,
 [primarily|mainly|largely] because of {reason} and {reason}.
- In fiscal @fy@ revenue was @revenue@, [compared with|against|versus] @revenue_py@ in fiscal @py@,
 a {change} of @revenue_change@, or @revenue_pct@, that [reflects|came from|followed] {reason}.
drivers:
- [About|Roughly] {pct} of the {change} came from {reason}, [and the rest|with the balance] from
 {reason} {where}.
- We [felt|saw|noticed] {reason} [most of all|from the first quarter on|in the second half of the
 year] {where}.
- Volumes of {product} {moved} by {point}, [mostly|chiefly|in part] because of {reason}.
parts:
- Revenue of @seg1@ was @seg1_now@, compared with @seg1_py@ [a year earlier|in the prior year|in
 fiscal @py@], [with|reflecting] changes in orders for {product} from {customer}.
- @seg1@ [contributed|brought in] @seg1_now@ and @seg2@ @seg2_now@ of revenue,
 [helped|moved|affected] by demand for {product} and {product}.
- @seg2@ [recorded|reported|posted] revenue of @seg2_now@, against @seg2_py@ in fiscal @py@, as
 {customer} [adjusted|changed|reviewed] their use of {product}.
gross:
- Cost of revenue was @cost@, and gross margin {moved} to @margin@ of revenue from @margin_py@,
 [because of|owing to|on] {reason} and the price of {input}.
- Gross margin was @margin@ of revenue in fiscal @fy@ [and|against] @margin_py@ in fiscal @py@, a
 {change} [driven|caused] by {reason} [together with|and by] changes in the cost of {input}.
overhead:
- Selling, general and administrative expense {moved} by @sga_change@ to @sga@, or @sga_share@ of
 revenue, [reflecting|because of] {force} and {force}.
- At @sga@, selling, general and administrative expense {moved} @sga_pct@ from fiscal @py@ on
 {force}, [as well as|and also] {force}.
profit:
- Interest expense was @interest@ and our effective tax rate @tax_rate@, [so that|with the result
 that] net income {moved} to @net@ from @net_py@ in fiscal @py@.
- Net income {moved} to @net@, [compared with|against] @net_py@ a year earlier, after interest
 expense of @interest@ and income taxes at an effective rate of @tax_rate@.
cash:
- Operating activities [provided|generated] @cfo@ of cash in fiscal @fy@, {more} than the @cfo_py@
 of fiscal @py@ [chiefly|mainly] because of changes in {segment} and in amounts due from {customer}.
- Cash flow from operations {moved} to @cfo@ from @cfo_py@ as payments by {customer} and stocks of
 {input} [changed|shifted].
spending:
- Capital expenditures were @capex@, [mainly|chiefly|mostly] for {asset} and {asset} at our {site}
 {where}, and we [expect|plan] to spend about @capex_next@ in fiscal @ny@.
- We [invested|spent] @capex@ on {asset} and on our {site}, and have [budgeted|set aside]
 @capex_next@ for fiscal @ny@, [half|most|part] of it for {product}.
funding:
- At year end we had @cash@ of cash and @debt@ of debt, [and|while] unused commitments under our
 credit agreement were {money}.
- We [believe|expect] that cash of @cash@, cash flow from {segment} and our credit agreement will
 [cover|meet] our needs for {asset}, debt service and dividends for [at least|the next] {small}
 months.
- We [paid|distributed] dividends of @dividends@, and our lenders [waived|amended|extended]
 covenants that [limit|govern] spending on {asset}.
outlook:
- For fiscal @ny@ we expect {driver} to be [stable|uneven|little changed], the price of {input} to
 [ease|hold|rise], and {customer} to [order|spend] about as much on {product} as in fiscal @fy@.
- We [anticipate|foresee] {small} new {site} in fiscal @ny@ and [steady|flat|rising] demand for
 {product} {where}.
estimates:
- We test goodwill of {segment} [each year|annually|every fourth quarter], and a fall of {pct} in
 our forecast for {product} would [use up|remove] the [excess|headroom].
policy:
- The statements include @name@ and its subsidiaries, among them the owners of our {site} {where}.
- We recognize revenue from {product} when control passes to {customer}, [usually|generally] on
 [delivery|shipment|acceptance], and from {product} over [the term of the contract|{small} months].
- The preparation of these statements [requires|calls for] estimates about {product}, {asset} and
 the conduct of {customer}.
stock:
- Inventories of @inventories@ are stated at the lower of cost and net realizable value, and
 [consist of|include] {input}, {input} and finished {product}.
plant:
- Property and equipment, net of depreciation, was @ppe@ and [consists|is made up] [mainly|chiefly]
 of {asset}, {asset} and our {site}.
- Depreciation was @depreciation@ in fiscal @fy@, [and|while] {asset} are written off over {small}
 to [fifteen|twenty|thirty] years.
- We lease {site} and {asset} under terms of [two|three|five] to [seven|ten|twelve] years, with
 [rents|payments] of {money} due in fiscal @ny@.
loans:
- Debt at year end was @debt@, [all|most|part] of it under a credit agreement secured by {asset} and
 amounts due from {customer}.
- The [agreement|loan] sets limits on [leverage|dividends|liens], [requires|calls for] coverage of
 {small} times, and [prices|charges] unused amounts at {point}.
taxes:
- Income tax expense was @tax@ in fiscal @fy@, an effective rate of @tax_rate@, [after|net of]
 credits for {asset} and the settlement of [an audit|a state audit|a dispute] over {site}.
contingent:
- We are party to [claims|lawsuits] over {product} and {rule}, for which we have [accrued|reserved]
 {money}, and a further loss of up to {money} is [possible|reasonably possible].
- In {year} we [guaranteed|backed] leases of {site} for [a former subsidiary|a joint venture|a
 customer], with {small} years left to run.
none:
- None.
- Not applicable.
premises:
- We [operate|own or lease] @sites_n@ {site} {where}, with our head office in @town@, @state@.
- We [believe|consider] that our {site} and {asset} are [adequate|suitable] for {product}, and run
 at about {pct} of capacity.
lawsuits:
- [Apart from|Other than] claims over {product} in the ordinary course, we are not party to any
 proceeding that we [expect|believe] to {hurt} {measure}.
shares:
- Our common stock had {count} holders of record at the end of fiscal @fy@, and we [paid|declared]
 dividends of @dividends@ in the year.
- We [bought|repurchased] {count} shares in the [third|fourth|second] quarter for {money} under a
 program [begun|approved] in {year}.
selected:
- Revenue was @revenue@ in fiscal @fy@ and @revenue_py@ in fiscal @py@, [as shown in|see] Item 8.
exposure:
- A [rise|change] of one percentage point in interest rates would [change|move] interest on our debt
 of @debt@ by about @point_cost@ a year.
- A change of {pct} in the price of {input} would [alter|move] our cost of revenue by {money} before
 [surcharges|hedges], [and|while] currencies [matter|weigh] little outside {segment}.
controls:
- Our officers [concluded|found] that disclosure controls were effective at the end of fiscal @fy@,
 [including|also] at the {site} {where}.
- We [replaced|upgraded|changed] controls over {asset} and over amounts due from {customer} in the
 [second|third|fourth] quarter.
proxy:
- This information [will appear|is contained] in our proxy statement for the @ny@ annual meeting,
 [incorporated here by reference|to which we refer].
- [See|We refer to] the proxy statement for our @ny@ meeting, which we expect to [file|mail] within
 {small} [weeks|days] of this report.
exhibits:
- The financial statements [appear|are] in Item 8, and [the exhibits include|we file as exhibits]
 our credit agreement, supply contracts for {input} and [certifications|the consent of our auditor].
""")
